//! How often guests exited, and what the exits were.

use core::sync::atomic::{AtomicU64, Ordering};

use drydock_cpu::Disposition;
use platform_api::Console;
use snp::exit::ExitCode;

/// The outcomes of an exit of AMD-V.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The host got it.
    Automatic,
    /// The guest got #VC, or its first level the reflected one.
    Vc,
    /// The guest got another exception that AMD-V would have delivered by itself.
    OwnException,
    /// An instruction or register of SEV-SNP's that AMD-V does not have.
    OwnInstruction,
    /// Page tables, which are computed when they are needed.
    OwnPages,
}

const OUTCOMES: [(Outcome, &str); 5] = [
    (Outcome::Automatic, "drydock.automatic"),
    (Outcome::Vc, "drydock.vc"),
    (Outcome::OwnException, "drydock.own.exception"),
    (Outcome::OwnInstruction, "drydock.own.instruction"),
    (Outcome::OwnPages, "drydock.own.pages"),
];

/// Counters of all VPs.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    outcomes: [AtomicU64; OUTCOMES.len()],
    /// Exits of AMD-V by [`NAMED`], then all others.
    exits: [AtomicU64; NAMED.len() + 1],
}

/// Codes of AMD-V's exits that are counted by name.
const NAMED: [(u64, &str); 10] = [
    (ExitCode::INTR.0, "drydock.exit.interrupt"),
    (ExitCode::VINTR.0, "drydock.exit.window"),
    (ExitCode::CPUID.0, "drydock.exit.cpuid"),
    (ExitCode::HLT.0, "drydock.exit.hlt"),
    (ExitCode::IOIO.0, "drydock.exit.port"),
    (ExitCode::MSR.0, "drydock.exit.msr"),
    (ExitCode::VMMCALL.0, "drydock.exit.vmgexit"),
    (ExitCode::NPF.0, "drydock.exit.nested-page-fault"),
    (ExitCode::exception(x86::vector::UD).0, "drydock.exit.undefined"),
    (ExitCode::CR0_SEL_WRITE.0, "drydock.exit.cr0"),
];

impl Counts {
    /// Counts an exit of AMD-V with its outcome.
    pub(crate) fn add(&self, code: u64, disposition: &Disposition) {
        let outcome = match disposition {
            Disposition::Automatic(_) => Outcome::Automatic,
            Disposition::Vc(_) => Outcome::Vc,
            Disposition::Exception(_) => Outcome::OwnException,
            Disposition::Resume | Disposition::Remap(_) => Outcome::OwnInstruction,
            Disposition::Alias { .. } => Outcome::OwnPages,
        };
        let index = OUTCOMES.iter().position(|(known, _)| *known == outcome);
        add(index.and_then(|index| self.outcomes.get(index)));
        let index = NAMED.iter().position(|(known, _)| *known == code).unwrap_or(NAMED.len());
        add(self.exits.get(index));
    }

    /// Reports all counters that are not zero.
    pub(crate) fn report(&self, to: &impl Console) {
        let outcomes = OUTCOMES.iter().map(|(_, name)| *name).zip(&self.outcomes);
        let names = NAMED.iter().map(|(_, name)| *name).chain(["drydock.exit.other"]);
        for (name, counter) in outcomes.chain(names.zip(&self.exits)) {
            let count = counter.load(Ordering::Relaxed);
            if count != 0 {
                to.report(format_args!("{} {name} {count}", host_wire::report::COUNT));
            }
        }
    }
}

fn add(counter: Option<&AtomicU64>) {
    if let Some(counter) = counter {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
