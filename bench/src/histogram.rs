//! Counts durations so that quantiles can be read within 3 %, without keeping them.

/// What one step of the finest scale is, as a power of two of nanoseconds: about a microsecond.
const FINEST_BITS: u32 = 10;

/// Durations, counted in steps that grow with them.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; index(u64::MAX) + 1],
            total: 0,
        }
    }
}

impl Histogram {
    /// Counts a duration.
    pub(crate) fn record(&mut self, nanos: u64) {
        self.counts[index(nanos)] += 1;
        self.total += 1;
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.counts.fill(0);
        self.total = 0;
    }

    /// How many nanoseconds so many per mille of the durations do not exceed, to 3 %; 0 where there
    /// are none.
    pub(crate) fn quantile(&self, per_mille: u64) -> u64 {
        let wanted = (self.total * per_mille).div_ceil(1000);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return upper(index);
            }
        }
        0
    }
}

/// 64 steps of the finest scale, then 32 for every doubling.
fn index(nanos: u64) -> usize {
    let value = nanos >> FINEST_BITS;
    let bits = 64 - value.leading_zeros();
    let index = if bits <= 6 {
        value
    } else {
        let shift = bits - 6;
        64 + u64::from(shift - 1) * 32 + (value >> shift) - 32
    };
    // At most 64 + 48 * 32.
    index as usize
}

/// The largest number of nanoseconds that is counted at an index.
fn upper(index: usize) -> u64 {
    let index = index as u64;
    let value = if index < 64 {
        index
    } else {
        let shift = (index - 64) / 32 + 1;
        let high = 32 + (index - 64) % 32;
        ((high + 1) << shift) - 1
    };
    ((u128::from(value) + 1) << FINEST_BITS)
        .try_into()
        .map_or(u64::MAX, |edge: u64| edge - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_within_three_percent_below_the_edge_of_its_step() {
        let mut nanos = 1;
        while nanos < u64::MAX / 3 {
            let edge = upper(index(nanos));
            assert!(edge >= nanos, "{nanos} is counted below {edge}");
            let slack = (nanos / 31).max(1 << FINEST_BITS);
            assert!(edge - nanos <= slack, "{nanos} is counted at {edge}");
            nanos += nanos / 7 + 1;
        }
        assert_eq!(upper(index(u64::MAX)), u64::MAX);
    }

    #[test]
    fn quantiles_of_a_thousand_milliseconds() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(500), 0);
        for milli in 1..=1000_u64 {
            histogram.record(milli * 1_000_000);
        }
        for (per_mille, milli) in [(500, 500), (990, 990), (999, 999)] {
            let quantile = histogram.quantile(per_mille) as f64 / 1e6;
            let wanted = f64::from(milli);
            assert!(
                (quantile / wanted - 1.0).abs() < 0.04,
                "{quantile} for {wanted}"
            );
        }
    }
}
