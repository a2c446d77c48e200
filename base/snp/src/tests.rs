mod exit;
mod ghcb;
mod msr_protocol;
mod page_state;
mod pages;
mod vmsa;
