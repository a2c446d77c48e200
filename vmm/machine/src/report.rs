//! The counters at the end of a run.

use core::sync::atomic::Ordering;

use host_wire::report::COUNT;
use platform_api::{Console, GuestVp, Platform};

use crate::machine::Machine;

impl<P: Platform> Machine<P> {
    /// Reports exits by reason, each summed over the VPs, then sizes.
    pub(crate) fn report(&self) {
        let host = self.host();
        let names = P::Vp::exit_names();
        let counts = self.counts.lock();
        for (index, name) in names.iter().enumerate() {
            let sum: u64 = counts.iter().skip(index).step_by(names.len()).sum();
            if sum != 0 && !name.is_empty() {
                host.report(format_args!("{COUNT} exit.{name} {sum}"));
            }
        }
        let own = self.platform.own_range().length();
        host.report(format_args!("{COUNT} vps {}", self.vps()));
        host.report(format_args!("{COUNT} starts {}", self.starts.load(Ordering::Relaxed)));
        let ticks = self.start_ticks.load(Ordering::Relaxed);
        host.report(format_args!("{COUNT} start-ticks {ticks}"));
        let ticks = self.kick_cost.load(Ordering::Relaxed);
        host.report(format_args!("{COUNT} kick-ticks {ticks}"));
        host.report(format_args!("{COUNT} own-bytes {own}"));
        host.report(format_args!("{COUNT} ram-bytes {}", self.ram().total()));
        host.report(format_args!("{COUNT} run-nanoseconds {}", self.now().as_nanos()));
    }
}
