//! Quotas, isolation of tenants, secrecy.

use std::collections::BTreeMap;
use std::vec::Vec;
use std::{format, vec};

use proptest::prelude::*;

use super::fake::*;
use crate::*;

#[test]
fn tenants_do_not_see_each_other() {
    let mut store = formatted();
    let mut entropy = Counter::from(10);
    store.commit(Tenant::Tpm, &[put(1, b"tpm")], &mut entropy).unwrap();
    store.commit(Tenant::UefiVariables, &[put(1, b"uefi"), put(0, b"x")], &mut entropy).unwrap();
    store.commit(Tenant::Tpm, &[Change { key: 0, data: None }], &mut entropy).unwrap();
    let store = open(store.into_disk()).unwrap();
    let of = |tenant| store.records(tenant).collect::<Vec<_>>();
    assert_eq!(of(Tenant::Tpm), [(1, &b"tpm"[..])]);
    assert_eq!(of(Tenant::UefiVariables), [(0, &b"x"[..]), (1, &b"uefi"[..])]);
}

#[test]
fn sizes_are_bounded_and_a_refusal_changes_nothing() {
    for tenant in Tenant::ALL {
        let mut store = formatted();
        let mut entropy = Counter::from(10);
        let before = store.disk_mut().events.len();
        let large = [1; MAX_RECORD + 1];
        let changes = [put(1, b"fits"), put(2, &large)];
        let error = store.commit(tenant, &changes, &mut entropy).unwrap_err();
        assert_eq!(error, CommitError::TooLarge { key: 2, length: MAX_RECORD + 1 });
        // Exactly as many bytes as the quota allows.
        let count = (tenant.quota() / (MAX_RECORD + RECORD_OVERHEAD)) as u32;
        let rest = tenant.quota() - count as usize * (MAX_RECORD + RECORD_OVERHEAD);
        let (full, last) = ([2; MAX_RECORD], vec![3; rest - RECORD_OVERHEAD]);
        let mut changes: Vec<_> = (0..count).map(|key| put(key, &full)).collect();
        changes.push(put(count, &last));
        changes.push(put(count + 1, b""));
        assert_eq!(
            store.commit(tenant, &changes, &mut entropy).unwrap_err(),
            CommitError::Quota(tenant)
        );
        assert_eq!(store.disk_mut().events.len(), before, "nothing was written");
        assert_eq!(store.records(tenant).count(), 0);
        changes.pop();
        store.commit(tenant, &changes, &mut entropy).unwrap();
        let again = open(store.into_disk()).unwrap();
        let sizes: usize = again.records(tenant).map(|(_, data)| data.len() + 7).sum();
        assert_eq!(sizes, tenant.quota());
    }
}

#[test]
fn all_tenants_full_fit_and_stay_in_their_slots() {
    let mut store = formatted();
    let mut entropy = Counter::from(10);
    let data = [5; 4096];
    for _ in 0..2 {
        for (tenant, count) in [(Tenant::Tpm, 23), (Tenant::UefiVariables, 31)] {
            let changes: Vec<_> = (0..count).map(|key| put(key, &data)).collect();
            store.commit(tenant, &changes, &mut entropy).unwrap();
            store.commit(tenant, &[put(99, b"1")], &mut entropy).unwrap();
            store.commit(tenant, &[Change { key: 99, data: None }], &mut entropy).unwrap();
        }
    }
    assert!(store.disk_mut().written().into_iter().all(|sector| sector < DISK_SECTORS));
    let store = open(store.into_disk()).unwrap();
    assert!(store.records(Tenant::Tpm).all(|(_, found)| found == data));
    assert_eq!(store.records(Tenant::UefiVariables).count(), 31);
}

#[test]
fn a_commit_without_a_change_writes_nothing() {
    let mut store = formatted();
    let mut entropy = Counter::from(10);
    store.commit(Tenant::Tpm, &[put(1, b"a")], &mut entropy).unwrap();
    let before = store.disk_mut().events.len();
    store.commit(Tenant::Tpm, &[], &mut entropy).unwrap();
    store.commit(Tenant::Tpm, &[put(1, b"b"), put(1, b"a")], &mut entropy).unwrap();
    assert_eq!(store.disk_mut().events.len(), before);
}

#[test]
fn the_last_sequence_number_is_the_last_commit() {
    let mut store = formatted();
    store.sequence = u64::MAX;
    let error = store.commit(Tenant::Tpm, &[put(1, b"a")], &mut Counter::from(9)).unwrap_err();
    assert_eq!(error, CommitError::Exhausted);
}

#[test]
fn nothing_secret_is_shown_or_lies_on_the_disk() {
    let secret = b"a secret of the TPM";
    let mut store = formatted();
    store.commit(Tenant::Tpm, &[put(1, secret)], &mut Counter::from(10)).unwrap();
    let key = Key::new(&[0x5a; 32]).unwrap();
    let shown = format!("{store:?} {key:?} {:?}", put(1, secret));
    assert_eq!(
        shown,
        "Store { sequence: 3, bytes: 26, in_doubt: false, .. } Key(..) \
         Change { key: 1, length: Some(19) }"
    );
    let image = store.into_image();
    for bytes in image.values() {
        assert!(!bytes.windows(8).any(|part| secret.windows(8).any(|other| part == other)));
        assert!(!bytes.windows(8).any(|part| part == [0x5a; 8]));
    }
}

/// The tenant; the changes.
type Step = (Tenant, Vec<(u32, Option<Vec<u8>>)>);

/// One step of a history.
fn step() -> impl Strategy<Value = Step> {
    let data = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..700));
    (proptest::sample::select(&Tenant::ALL), proptest::collection::vec((0..6_u32, data), 0..5))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Under any commits and restarts, a store behaves as one map for each tenant.
    #[test]
    fn a_store_is_a_map(steps in proptest::collection::vec(step(), 1..12)) {
        let mut model: BTreeMap<(Tenant, u32), Vec<u8>> = BTreeMap::new();
        let mut disk = formatted().into_disk();
        let mut entropy = Counter::from(10);
        for (tenant, mut changes) in steps {
            if tenant == Tenant::Presence {
                // Small enough for all six to fit its quota.
                changes.iter_mut().filter_map(|(_, data)| data.as_mut()).for_each(|data| data.truncate(3));
            }
            let mut store = open(&mut disk).unwrap();
            let given: Vec<_> =
                changes.iter().map(|(key, data)| Change { key: *key, data: data.as_deref() }).collect();
            store.commit(tenant, &given, &mut entropy).unwrap();
            for (key, data) in changes {
                match data {
                    Some(data) => model.insert((tenant, key), data),
                    None => model.remove(&(tenant, key)),
                };
            }
            for tenant in Tenant::ALL {
                let wanted = model.iter().filter(|((owner, _), _)| *owner == tenant);
                let wanted: Vec<_> = wanted.map(|((_, key), data)| (*key, data.as_slice())).collect();
                prop_assert_eq!(store.records(tenant).collect::<Vec<_>>(), wanted);
            }
        }
    }
}
