//! Tests of opening and closing under many interleavings of threads; see `collection/interleavings.rs`.

use super::lazy::{Lazy, Present};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, thread, try_orders};

/// A file that only one holder may have open, and a number in it.
#[derive(Default)]
struct File {
    holders: AtomicU64,
    number: AtomicU64,
}

/// An open file: a copy of its number, written back when it is closed.
struct Opened {
    file: Arc<File>,
    number: AtomicU64,
}

impl Opened {
    fn open(file: &Arc<File>) -> Self {
        assert_eq!(file.holders.fetch_add(1, Ordering::SeqCst), 0, "it is open twice");
        thread::yield_now();
        Self { file: file.clone(), number: AtomicU64::new(file.number.load(Ordering::SeqCst)) }
    }

    fn close(self) {
        thread::yield_now();
        self.file.number.store(self.number.load(Ordering::SeqCst), Ordering::SeqCst);
        self.file.holders.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Subject {
    file: Arc<File>,
    lazy: Lazy<Opened, u64>,
}

impl Subject {
    fn new() -> Arc<Self> {
        Arc::new(Self { file: Arc::default(), lazy: Lazy::closed(0) })
    }

    /// Adds 1, as a call on a collection would; returns false if it was removed.
    fn add(&self) -> bool {
        let opened = self.lazy.get_or_open(|_| Ok::<_, (u64, ())>(Opened::open(&self.file)), |_| {}).unwrap();
        let Some(opened) = opened else { return false };
        thread::yield_now();
        opened.number.fetch_add(1, Ordering::SeqCst);
        true
    }

    fn close(&self) -> bool {
        self.lazy.close_unused(|opened| Some(opened.number.load(Ordering::SeqCst)), |opened, _| opened.close())
    }
}

#[test]
fn a_value_closes_only_while_unused_and_is_never_open_twice() {
    try_orders(|| {
        let subject = Subject::new();
        let users: Vec<_> = (0..2)
            .map(|_| {
                let subject = subject.clone();
                thread::spawn(move || (0..2).for_each(|_| assert!(subject.add())))
            })
            .collect();
        let closer = {
            let subject = subject.clone();
            thread::spawn(move || {
                for _ in 0..3 {
                    subject.close();
                    thread::yield_now();
                }
            })
        };
        users.into_iter().for_each(|user| user.join().unwrap());
        closer.join().unwrap();
        // Without users it closes, and describes its last state.
        if subject.lazy.is_open() {
            assert!(subject.close());
        }
        assert_eq!(subject.file.number.load(Ordering::SeqCst), 4);
        assert_eq!(subject.file.holders.load(Ordering::SeqCst), 0);
        assert!(matches!(subject.lazy.present(), Present::Closed(4)));
    });
}

#[test]
fn a_removed_value_never_opens_again() {
    try_orders(|| {
        let subject = Subject::new();
        let user = {
            let subject = subject.clone();
            thread::spawn(move || subject.add())
        };
        let remover = {
            let subject = subject.clone();
            thread::spawn(move || match subject.lazy.begin_removal() {
                Some(removal) => {
                    let before = subject.file.number.load(Ordering::SeqCst);
                    assert_eq!(subject.file.holders.load(Ordering::SeqCst), 0);
                    thread::yield_now();
                    assert_eq!(subject.file.holders.load(Ordering::SeqCst), 0, "it was opened during the removal");
                    assert_eq!(subject.file.number.load(Ordering::SeqCst), before);
                    subject.lazy.remove();
                    drop(removal);
                    true
                }
                None => false,
            })
        };
        let (added, removed) = (user.join().unwrap(), remover.join().unwrap());
        assert!(added != removed, "added: {added}, removed: {removed}");
        assert_eq!(subject.add(), added);
    });
}
