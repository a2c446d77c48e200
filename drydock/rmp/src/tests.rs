mod fixture;
mod guest;
mod host;
mod sequences;
mod view;
