//! The context for long work that can not be cut.

/// The service: a context with a stack of its own, which an interrupt of the host puts aside.
pub trait Service {
    /// Lets the service run on this CPU, until it leaves or this CPU has taken an interrupt. False
    /// if it has failed, and will never run again.
    fn run(&self) -> bool;
    /// Called by the service when it has nothing to do: returns when there may be something.
    fn leave(&self);
}
