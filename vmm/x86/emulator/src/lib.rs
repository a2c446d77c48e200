//! Emulates the one instruction that made a VP exit.
//!
//! Everything comes from the guest, which may be hostile: registers, page tables, instruction
//! bytes. So no function here panics, loops without a bound or allocates, and each byte of an
//! instruction and each memory operand is read exactly once, so that another VP cannot change it
//! between a check and its use.
//!
//! * [`emulate`] runs an instruction with a memory operand, mostly one that hit MMIO.
//! * [`emulate_port_string`] runs INS and OUTS.
//! * [`deliver`] delivers an interrupt or exception through the guest's interrupt table.
//! * [`Paging::translate`] is the guest's own page walk.
//! * [`quick_move`] is the fast path for the most common accesses to a device.
//! * [`instruction_length`] is the fast path for skipping CPUID, HLT, RDMSR and similar
//!   instructions.
#![no_std]
#![forbid(unsafe_code)]

mod access;
mod alu;
mod decode;
mod delivery;
mod exception;
mod execute;
mod fetch;
mod forms;
mod length;
mod machine;
mod memory;
mod operands;
mod paging;
mod quick;
mod segmentation;
mod size;
mod stack;
mod string;

pub use decode::{Base, DecodeError, Instruction, MemoryOperand, Place, Repeat, decode};
pub use delivery::{DeliveryError, Event, deliver};
pub use exception::Exception;
pub use forms::{Arithmetic, BitChange, Operation, Shift, StringOperation};
pub use length::{LengthError, Opcode, code_address, instruction_length};
pub use machine::{Limits, Outcome, emulate, emulate_port_string};
pub use memory::{BusError, PhysicalMemory, Ports};
pub use operands::operand_addresses;
pub use paging::{Access, Paging, WalkError};
pub use quick::{Move, quick_move};
pub use size::{CodeSize, Size};
