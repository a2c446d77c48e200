mod fixture;
mod guest;
mod host;
mod reference;
mod sequences;
mod view;
