mod cpuid;
mod fixture;
mod identity;
mod key;
mod launch;
mod report;
mod request;
mod robustness;
