//! How a metric is put together for the Prometheus library: a family of one type, with its labels.

use odin_core::stats::{Histogram, LATENCY_BOUNDS_NANOS, Stats};
use prometheus::proto::{self, LabelPair, Metric, MetricFamily, MetricType};

use super::Snapshot;

/// The families so far.
#[derive(Default)]
pub(super) struct Families(Vec<MetricFamily>);

impl Families {
    pub(super) fn into_inner(self) -> Vec<MetricFamily> {
        self.0
    }

    pub(super) fn family(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        metrics: Vec<Metric>,
    ) {
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        self.0.push(family);
    }

    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(
            name,
            help,
            MetricType::COUNTER,
            vec![counter(vec![], value)],
        );
    }

    pub(super) fn counters(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'static str, u64)>,
    ) {
        let metric = |(of, value)| counter(vec![pair(label, of)], value);
        let metrics = values.into_iter().map(metric).collect();
        self.family(name, help, MetricType::COUNTER, metrics);
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.family(name, help, MetricType::GAUGE, vec![gauge(vec![], value)]);
    }

    pub(super) fn histogram(&mut self, name: &str, help: &str, from: &Histogram) {
        let mut below = 0;
        let buckets = LATENCY_BOUNDS_NANOS
            .iter()
            .zip(from.buckets)
            .map(|(bound, count)| {
                below += count;
                let mut bucket = proto::Bucket::default();
                bucket.set_upper_bound(seconds(*bound));
                bucket.set_cumulative_count(below);
                bucket
            });
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(from.count());
        histogram.set_sample_sum(seconds(from.sum));
        let mut metric = Metric::default();
        metric.set_histogram(histogram);
        self.family(name, help, MetricType::HISTOGRAM, vec![metric]);
    }
}

/// The counts of `values` under the labels of `all`, which are in the same order.
pub(super) fn labelled<R: Copy>(
    all: &[R],
    values: &[u64],
    label: fn(R) -> &'static str,
) -> impl Iterator<Item = (&'static str, u64)> {
    all.iter()
        .zip(values)
        .map(move |(reason, value)| (label(*reason), *value))
}

/// An array of counters, summed over the shards.
pub(super) fn sum_each<const N: usize>(s: &Snapshot, of: fn(&Stats) -> &[u64; N]) -> [u64; N] {
    let mut sums = [0; N];
    for shard in &s.shards {
        for (sum, value) in sums.iter_mut().zip(of(&shard.stats)) {
            *sum += value;
        }
    }
    sums
}

fn counter(labels: Vec<LabelPair>, value: u64) -> Metric {
    let mut counter = proto::Counter::default();
    counter.set_value(value as f64);
    let mut metric = Metric::from_label(labels);
    metric.set_counter(counter);
    metric
}

pub(super) fn gauge(labels: Vec<LabelPair>, value: f64) -> Metric {
    let mut gauge = proto::Gauge::default();
    gauge.set_value(value);
    let mut metric = Metric::from_label(labels);
    metric.set_gauge(gauge);
    metric
}

pub(super) fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

pub(super) fn flag(on: bool) -> f64 {
    f64::from(u8::from(on))
}

pub(super) fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}
