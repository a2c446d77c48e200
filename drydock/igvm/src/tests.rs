mod accepted;
mod build;
mod footprint;
mod hostile;
mod refused;
