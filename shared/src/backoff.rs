//! How long to wait before something is tried again.

use std::time::Duration;

/// Returns the wait before the given retry (the first is 1): 1, 2, 4, 8 s and so on up to `longest`, less up to half of
/// it by `jitter`, a number from 0 to 1 that the caller draws, so that many who failed together don't return together.
pub fn wait(retry: u32, longest: Duration, jitter: f64) -> Duration {
    let doubled = Duration::from_secs(1_u64 << retry.saturating_sub(1).min(20));
    doubled.min(longest).mul_f64(1.0 - 0.5 * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let longest = Duration::from_secs(16);

        let waits: Vec<u64> = (1..=7).map(|retry| wait(retry, longest, 0.0).as_secs()).collect();

        assert_eq!(waits, [1, 2, 4, 8, 16, 16, 16]);
    }

    proptest! {
        #[test]
        fn jitter_takes_at_most_half(retry in 1_u32..100, jitter in 0.0_f64..=1.0) {
            let longest = Duration::from_secs(32);
            let full = wait(retry, longest, 0.0);
            let shortened = wait(retry, longest, jitter);

            prop_assert!(shortened <= full && shortened * 2 >= full);
        }
    }
}
