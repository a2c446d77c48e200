mod fixture;
mod host;
