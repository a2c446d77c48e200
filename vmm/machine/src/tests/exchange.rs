//! The exchange of tasks between a VP and the TPM's service.

use crate::tpm::{Exchange, Task, TpmError};

#[test]
fn a_task_reaches_the_service_and_its_outcome_comes_back_once() {
    let exchange = Exchange::new();
    exchange.serve(|_, _| panic!("nothing to do"));
    assert!(exchange.collect(|_| ()).is_none() && !exchange.is_busy());
    let task = Task::Execute { locality: 3 };
    assert!(exchange.submit(task, |bytes| bytes.extend_from_slice(b"command")));
    assert!(!exchange.submit(Task::Init, |_| panic!("one at a time")));
    assert!(exchange.collect(|_| ()).is_none() && exchange.is_busy());
    exchange.serve(|found, bytes| {
        assert_eq!((found, &bytes[..]), (task, &b"command"[..]));
        bytes.clear();
        bytes.extend_from_slice(b"response");
        Ok(())
    });
    exchange.serve(|_, _| panic!("done already"));
    assert_eq!(exchange.collect(<[u8]>::to_vec), Some(Ok(b"response".to_vec())));
    assert!(exchange.collect(|_| ()).is_none() && !exchange.is_busy());
}

#[test]
fn a_failure_comes_back_and_no_byte_of_the_last_task_stays() {
    let exchange = Exchange::new();
    assert!(exchange.submit(Task::Init, |bytes| bytes.extend_from_slice(b"secret")));
    exchange.serve(|_, _| Err(TpmError::Entropy));
    assert_eq!(exchange.collect(|_| ()), Some(Err(TpmError::Entropy)));
    assert!(exchange.submit(Task::Init, |bytes| assert!(bytes.is_empty())));
    assert!(!std::format!("{exchange:?}").contains("115"));
}
