//! Runs numbered pieces of work on several threads.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Runs `task` for `0..count` on up to `jobs` threads, in order of number as threads become free.
///
/// # Errors
/// The error of the lowest number that failed, so that a run fails alike whatever `jobs` is; no piece after a failure
/// is begun.
pub fn run<E: Send>(jobs: usize, count: usize, task: impl Fn(usize) -> Result<(), E> + Sync) -> Result<(), E> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let failure: Mutex<Option<(usize, E)>> = Mutex::new(None);
    let worker = || {
        while !failed.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                break;
            }
            if let Err(error) = task(number) {
                failed.store(true, Ordering::Relaxed);
                let mut first = failure.lock().unwrap_or_else(PoisonError::into_inner);
                if first.as_ref().is_none_or(|(earlier, _)| number < *earlier) {
                    *first = Some((number, error));
                }
            }
        }
    };
    let threads = jobs.clamp(1, count.max(1));
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(worker);
        }
        worker();
    });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), |(_, error)| Err(error))
}

/// Runs `task` for every item and returns the results in the items' order.
///
/// # Errors
/// As [`run`].
pub fn map<T: Sync, R: Send, E: Send>(
    jobs: usize,
    items: &[T],
    task: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let slots: Vec<Mutex<Option<R>>> = items.iter().map(|_| Mutex::new(None)).collect();
    run(jobs, items.len(), |number| {
        if let (Some(item), Some(slot)) = (items.get(number), slots.get(number)) {
            let result = task(item)?;
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        }
        Ok(())
    })?;
    Ok(slots.into_iter().filter_map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_is_reported_whatever_the_number_of_jobs() {
        for jobs in [1, 2, 8] {
            let error = run(jobs, 100, |n| if n >= 10 { Err(n) } else { Ok(()) }).unwrap_err();
            assert_eq!(error, 10);
        }
        let squares = map(4, &[1u32, 2, 3], |n| Ok::<_, ()>(n * n)).unwrap();
        assert_eq!(squares, [1, 4, 9]);
    }
}
