mod accepted;
mod build;
mod footprint;
mod hostile;
mod manner;
mod refused;
