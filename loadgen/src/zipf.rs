//! Zipf-distributed ranks: rank `k` of `n` is drawn with a probability proportional to `k^-exponent`.
//!
//! By rejection-inversion: W. Hörmann and G. Derflinger, "Rejection-Inversion to Generate Variates from
//! Monotone Discrete Distributions", ACM TOMACS 6(3), 1996. No table: memory and time do not grow with
//! `n`, and fewer than two draws are needed on average.

use crate::workload::Random;

#[derive(Debug, Clone, Copy)]
pub struct Zipf {
    count: u64,
    exponent: f64,
    area_first: f64,
    area_last: f64,
    shortcut: f64,
}

impl Zipf {
    /// `count` above 0, `exponent` finite and not negative; 0 is uniform.
    pub fn new(count: u64, exponent: f64) -> Self {
        let mut zipf = Self { count, exponent, area_first: 0.0, area_last: 0.0, shortcut: 0.0 };
        zipf.area_first = zipf.area(1.5) - 1.0;
        zipf.area_last = zipf.area(count as f64 + 0.5);
        zipf.shortcut = 2.0 - zipf.inverse(zipf.area(2.5) - zipf.density(2.0));
        zipf
    }

    /// A rank from 0 (the most popular) on.
    pub fn pick(&self, random: &mut Random) -> u64 {
        loop {
            let area = self.area_last + random.unit() * (self.area_first - self.area_last);
            let point = self.inverse(area);
            let rank = (point + 0.5).clamp(1.0, self.count as f64).floor();
            if rank - point <= self.shortcut || area >= self.area(rank + 0.5) - self.density(rank) {
                return rank as u64 - 1;
            }
        }
    }

    fn density(&self, x: f64) -> f64 {
        (-self.exponent * x.ln()).exp()
    }

    /// Integral of the density, up to a constant.
    fn area(&self, x: f64) -> f64 {
        let log = x.ln();
        exp_m1_ratio((1.0 - self.exponent) * log) * log
    }

    fn inverse(&self, area: f64) -> f64 {
        let scaled = (area * (1.0 - self.exponent)).max(-1.0);
        (ln_1p_ratio(scaled) * area).exp()
    }
}

/// (e^x - 1) / x, also near 0.
fn exp_m1_ratio(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.exp_m1() / x } else { 1.0 + x / 2.0 }
}

/// ln(1 + x) / x, also near 0.
fn ln_1p_ratio(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.ln_1p() / x } else { 1.0 - x / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_come_as_often_as_the_law_says() {
        for exponent in [0.0, 0.8, 1.0, 1.5] {
            let (count, draws) = (50u64, 200_000);
            let zipf = Zipf::new(count, exponent);
            let mut random = Random::new(7);
            let mut found = vec![0u32; count as usize];
            (0..draws).for_each(|_| found[zipf.pick(&mut random) as usize] += 1);
            let weight = |rank: u64| ((rank + 1) as f64).powf(-exponent);
            let total: f64 = (0..count).map(weight).sum();
            for rank in [0, 1, 5, 49] {
                let expected = weight(rank) / total * f64::from(draws);
                let apart = (f64::from(found[rank as usize]) - expected).abs();
                assert!(apart < 5.0 * expected.sqrt(), "{exponent}, {rank}: {apart}");
            }
        }
    }

    #[test]
    fn one_rank_and_very_many_are_within_bounds() {
        let mut random = Random::new(1);
        assert_eq!(Zipf::new(1, 0.8).pick(&mut random), 0);
        let zipf = Zipf::new(1 << 28, 1.0);
        assert!((0..10_000).all(|_| zipf.pick(&mut random) < 1 << 28));
    }
}
