//! Where a ratio is on the picture.

/// A logarithmic scale that begins and ends with a tick.
pub(crate) struct Scale {
    pub(crate) ticks: Vec<f64>,
    pub(crate) left: f64,
    pub(crate) right: f64,
}

impl Scale {
    /// Wide enough for all ratios, and for one.
    pub(crate) fn new(ratios: impl IntoIterator<Item = f64>, left: f64, right: f64) -> Self {
        let (low, high) =
            ratios.into_iter().fold((0.5_f64, 2.0_f64), |(low, high), ratio| (low.min(ratio), high.max(ratio)));
        // More of them would have no room for their labels.
        let digits: &[f64] = if high / low > 1e4 { &[1.0] } else { &[1.0, 3.0] };
        let decades = decade(low)..=decade(high) + 1;
        let all: Vec<_> = decades.flat_map(|decade| digits.iter().map(move |digit| scaled(*digit, decade))).collect();
        let first = all.iter().rposition(|tick| *tick <= low).unwrap_or(0);
        let last = all.iter().position(|tick| *tick >= high).map_or(all.len(), |last| last + 1);
        Self { ticks: all[first..last].to_vec(), left, right }
    }

    pub(crate) fn x(&self, ratio: f64) -> f64 {
        let (Some(first), Some(last)) = (self.ticks.first(), self.ticks.last()) else { return self.left };
        self.left + (self.right - self.left) * (ratio / first).ln() / (last / first).ln()
    }
}

/// The power of ten at or below a ratio.
#[expect(clippy::cast_possible_truncation, reason = "the logarithms of finite numbers are small")]
fn decade(ratio: f64) -> i32 {
    ratio.log10().floor() as i32
}

/// Divides where a power of ten below one would make it 0.30000000000000004.
fn scaled(digit: f64, decade: i32) -> f64 {
    if decade < 0 { digit / 10_f64.powi(-decade) } else { digit * 10_f64.powi(decade) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounded(x: f64) -> f64 {
        (x * 1000.0).round() / 1000.0
    }

    #[test]
    fn scale_is_logarithmic_and_holds_all() {
        let scale = Scale::new([0.05, 40.0], 100.0, 500.0);
        assert_eq!(scale.ticks, [0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0]);
        assert_eq!((rounded(scale.x(0.03)), rounded(scale.x(100.0))), (100.0, 500.0));
        assert_eq!(rounded(scale.x(10.0) - scale.x(1.0)), rounded(scale.x(1.0) - scale.x(0.1)));
        assert_eq!(Scale::new([], 0.0, 1.0).ticks, [0.3, 1.0, 3.0]);
        assert_eq!(Scale::new([0.1, 10.0], 0.0, 1.0).ticks, [0.1, 0.3, 1.0, 3.0, 10.0]);
        assert_eq!(Scale::new([1e-9], 0.0, 1.0).ticks[0], 1e-9);
    }
}
