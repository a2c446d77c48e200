mod accepted;
mod build;
mod hostile;
mod refused;
