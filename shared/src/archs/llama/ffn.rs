//! The width of the feed-forward layer, which `params.json` gives by a formula and `config.json` as a number.

/// `multiple_of` and `ffn_dim_multiplier` of `params.json`.
pub type Factors = (u64, Option<f64>);

/// The whole part of a positive float, as Python's `int`.
#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and no width comes near 2^53"
)]
fn whole(value: f64) -> u64 {
    value as u64
}

/// A width as a float, exactly, if it is one that a model can have.
fn float(width: u64) -> Option<f64> {
    u32::try_from(width).ok().map(f64::from)
}

/// The width before rounding: two thirds of four times `dim`, times the multiplier, each cut to a whole number.
fn unrounded(dim: u64, multiplier: Option<f64>) -> Option<u64> {
    let width = dim.checked_mul(8)?.checked_div(3)?;
    match multiplier {
        None => Some(width),
        Some(multiplier) => Some(whole(multiplier * float(width)?)),
    }
}

/// The width that Meta's code builds (`FeedForward` of its `model.py`): rounded up to `multiple_of`. `None` where
/// the numbers are not those of a model.
pub fn width(dim: u64, (multiple_of, multiplier): Factors) -> Option<u64> {
    unrounded(dim, multiplier)?.checked_next_multiple_of(multiple_of)
}

/// The factors of the releases that have some, by `dim`: 3.2 1B and 3B, 3 and 3.1 8B, 2 and later 70B, 405B.
const RELEASES: [(u64, Factors); 5] = [
    (2048, (256, Some(1.5))),
    (3072, (256, Some(1.0))),
    (4096, (1024, Some(1.3))),
    (8192, (4096, Some(1.3))),
    (16_384, (4096, Some(1.2))),
];

/// The factors of Llama 1, Code Llama (which says 1.0, to the same effect) and Llama 2 but for 70B.
const PLAIN: Factors = (256, None);

/// Factors from which Meta's code builds this width: those of a release if they do, else a multiplier of as few
/// digits as will do. `None` where no factors give it, which no width of a model has shown.
pub fn factors(dim: u64, ffn: u64) -> Option<Factors> {
    let fits = |factors: &Factors| width(dim, *factors) == Some(ffn);
    let released = RELEASES.iter().filter(|(row, _)| *row == dim).map(|(_, factors)| *factors);
    released.chain([PLAIN]).find(fits).or_else(|| {
        // The largest power of two in the width, up to the 256 that most releases use.
        let multiple_of = 1_u64.checked_shl(ffn.trailing_zeros())?.min(256);
        Some((multiple_of, Some(multiplier(dim, ffn, multiple_of)?)))
    })
}

/// A multiplier, of as few digits as will do, from which with this `multiple_of` Meta's code builds this width.
pub fn multiplier(dim: u64, ffn: u64, multiple_of: u64) -> Option<f64> {
    let exact = float(unrounded(dim, None)?)?;
    // A target in the middle of what is rounded up to the width.
    let half = if multiple_of > 2 { float(multiple_of)? / 2.0 } else { -0.5 };
    let target = (float(ffn)? - half) / exact;
    shortest(&[target], |multiplier| width(dim, (multiple_of, Some(multiplier))) == Some(ffn))
}

/// The number of as few digits as will do, near one of the targets, that fits.
pub fn shortest(targets: &[f64], fits: impl Fn(f64) -> bool) -> Option<f64> {
    let rounded = |target: &f64, digits: usize| format!("{target:.*e}", digits.saturating_sub(1)).parse().ok();
    let near =
        [3, 4, 6, 17].into_iter().flat_map(|digits| targets.iter().filter_map(move |target| rounded(target, digits)));
    near.into_iter().find(|number: &f64| fits(*number))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_releases_have_their_widths_and_their_factors() {
        for (dim, factors_of, ffn) in [
            (4096, (256, None), 11008),
            (5120, (256, None), 13824),
            (6656, (256, None), 17920),
            (8192, (256, None), 22016),
            (8192, (4096, Some(1.3)), 28672),
            (4096, (1024, Some(1.3)), 14336),
            (16384, (4096, Some(1.2)), 53248),
            (2048, (256, Some(1.5)), 8192),
            (3072, (256, Some(1.0)), 8192),
        ] {
            assert_eq!(width(dim, factors_of), Some(ffn));
            assert_eq!(factors(dim, ffn), Some(factors_of));
        }
        // Code Llama says 1.0 where Llama 1 says nothing; the width is the same.
        assert_eq!(width(8192, (256, Some(1.0))), Some(22016));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn every_width_has_factors(dim in 8u64..40_000, ffn in 1u64..200_000) {
            let found = factors(dim, ffn);
            prop_assert_eq!(found.and_then(|found| width(dim, found)), Some(ffn), "{:?}", found);
        }
    }

    #[test]
    fn nonsense_has_none() {
        assert_eq!(width(u64::MAX, (256, None)), None);
        assert_eq!(width(4096, (0, None)), None);
        assert_eq!(factors(0, 100), None);
        assert_eq!(factors(4096, 0), None);
    }
}
