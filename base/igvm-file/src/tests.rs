mod accepted;
mod build;
mod device_tree;
mod footprint;
mod hostile;
mod manner;
mod refused;
