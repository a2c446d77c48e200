//! Mail that is posted while the VP drains.

use shuttle::sync::Arc;
use shuttle::thread;

use crate::mailbox::{Away, Mailbox};

/// A level-triggered vector is reported as level-triggered, even if the VP drains between its post
/// and a post of the same vector as an edge. Otherwise the IOAPIC waits forever for the EOI.
#[test]
fn a_level_never_becomes_an_edge() {
    crate::try_schedules(|| {
        let mailbox = Arc::new(Mailbox::default());
        let _ = mailbox.post_vector(0x41, false);
        let poster = Arc::clone(&mailbox);
        let posts = thread::spawn(move || {
            let _ = poster.post_vector(0x41, true);
        });
        let first = mailbox.drain();
        posts.join().unwrap();
        let second = mailbox.drain();
        let told = (first.level[1] | second.level[1], second.level[1] ^ second.requests[1]);
        assert_eq!(told, (2, 0), "{first:?} {second:?}");
    });
}

/// A VP that enters the guest has seen every post, or is kicked.
#[test]
fn no_post_is_both_unseen_and_without_a_kick() {
    for away in [Away::Guest, Away::Asleep] {
        crate::try_schedules(move || {
            let mailbox = Arc::new(Mailbox::default());
            let poster = Arc::clone(&mailbox);
            let posts = thread::spawn(move || {
                [poster.post_nmi(), poster.post_vector(0x30, false)].contains(&true)
            });
            let first = mailbox.drain();
            let left = mailbox.leave(away);
            let kicked = posts.join().unwrap();
            let seen = first.nmis() == 1 && first.requests[0] != 0;
            assert!(seen || !left || kicked, "{first:?}");
        });
    }
}
