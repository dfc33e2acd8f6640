//! The goals: what each figure is called, how far it may go, and whether it is met (pure). They are compared within one
//! run on one machine, so most of them are ratios and differences.

use serde_json::{Map, Value};

use Bound::{AtLeast, AtMost, Told};

/// How far a figure may go.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Bound {
    AtMost(f64),
    AtLeast(f64),
    /// It is told, not bounded.
    Told,
}

/// A figure with a goal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Goal {
    /// In the JSON object.
    pub(super) key: &'static str,
    pub(super) what: &'static str,
    pub(super) unit: &'static str,
    pub(super) bound: Bound,
}

/// What became of a goal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Met,
    Missed,
    /// There is no goal for it.
    Told,
    /// The run did not measure it.
    Unknown,
}

/// All figures, those of CPU time first.
pub(super) const GOALS: [Goal; 16] = [
    goal("cpu_us_over_hyper", "CPU a request over the bare hyper proxy, one token", "us", AtMost(3.0)),
    goal("cpu_us_over_hyper_logged", "the same with the access log on", "us", AtMost(6.0)),
    goal("cached_vs_envoy_cached", "Envoy's CPU a request with its token cache / ours, one token", "x", AtLeast(2.2)),
    goal("unique_vs_envoy", "Envoy's CPU a request / ours, each signature checked (RS256)", "x", AtLeast(2.2)),
    goal("introspect_cached_vs_cached", "CPU a request, token introspected once / checked locally", "x", AtMost(1.05)),
    goal("introspect_new_cpu_us", "CPU a request, each token introspected, 256 waiting", "us", AtMost(100.0)),
    goal("added_p50_us", "p50 over the upstream itself at 2,000 requests/s", "us", AtMost(80.0)),
    goal("added_p99_us", "p99 over the upstream itself at 2,000 requests/s", "us", AtMost(300.0)),
    goal("rss_idle_mb", "anonymous memory, idle", "MB", AtMost(10.0)),
    goal("rss_1k_idle_mb", "with 1,000 idle connections", "MB", AtMost(40.0)),
    goal("rss_1k_active_mb", "with 1,000 busy connections", "MB", AtMost(60.0)),
    goal("rss_100k_tokens_mb", "with 100,000 known tokens", "MB", AtMost(60.0)),
    goal("start_to_ready_ms", "from start to ready, keys seeded", "ms", AtMost(30.0)),
    goal("binary_mb", "the stripped, static binary", "MB", AtMost(12.0)),
    goal("image_mb", "the image", "MB", AtMost(15.0)),
    goal("allocations_per_request", "allocations of a request, one token (debug build)", "", Told),
];

const fn goal(key: &'static str, what: &'static str, unit: &'static str, bound: Bound) -> Goal {
    Goal { key, what, unit, bound }
}

impl Goal {
    pub(super) fn verdict(&self, measured: Option<f64>) -> Verdict {
        match (measured, self.bound) {
            (None, _) => Verdict::Unknown,
            (Some(_), Told) => Verdict::Told,
            (Some(figure), AtMost(most)) if figure <= most => Verdict::Met,
            (Some(figure), AtLeast(least)) if figure >= least => Verdict::Met,
            (Some(_), AtMost(_) | AtLeast(_)) => Verdict::Missed,
        }
    }

    /// A line of the table.
    pub(super) fn line(&self, measured: Option<f64>) -> String {
        let bound = match self.bound {
            AtMost(most) => format!("<= {most} {}", self.unit),
            AtLeast(least) => format!(">= {least} {}", self.unit),
            Told => String::new(),
        };
        let shown = measured.map_or_else(String::new, |figure| format!("{figure} {}", self.unit));
        let verdict = match self.verdict(measured) {
            Verdict::Met => "met",
            Verdict::Missed => "**missed**",
            Verdict::Told => "",
            Verdict::Unknown => "not measured",
        };
        format!("| {} | {} | {} | {verdict} |\n", self.what, bound.trim_end(), shown.trim_end())
    }
}

/// One object with every key; what was not measured is null.
pub(super) fn object(measured: impl Fn(&str) -> Option<f64>) -> Map<String, Value> {
    GOALS.iter().map(|goal| (goal.key.to_owned(), measured(goal.key).map_or(Value::Null, Value::from))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(key: &str) -> Goal {
        *GOALS.iter().find(|goal| goal.key == key).unwrap()
    }

    #[test]
    fn a_goal_is_met_up_to_its_bound_and_not_beyond() {
        for (key, figure, verdict) in [
            ("cpu_us_over_hyper", Some(3.0), Verdict::Met),
            ("cpu_us_over_hyper", Some(-1.0), Verdict::Met),
            ("cpu_us_over_hyper", Some(3.01), Verdict::Missed),
            ("cached_vs_envoy_cached", Some(2.2), Verdict::Met),
            ("cached_vs_envoy_cached", Some(2.19), Verdict::Missed),
            ("unique_vs_envoy", None, Verdict::Unknown),
            ("allocations_per_request", Some(400.0), Verdict::Told),
            ("rss_idle_mb", Some(f64::NAN), Verdict::Missed),
        ] {
            assert_eq!(of(key).verdict(figure), verdict, "{key} {figure:?}");
        }
    }

    #[test]
    fn the_object_has_every_key_once_and_null_for_what_was_not_measured() {
        let object = object(|key| (key == "binary_mb").then_some(10.5));
        let mut keys: Vec<&str> = object.keys().map(String::as_str).collect();
        keys.sort_unstable();
        let mut expected = [
            "cpu_us_over_hyper",
            "cpu_us_over_hyper_logged",
            "cached_vs_envoy_cached",
            "unique_vs_envoy",
            "introspect_cached_vs_cached",
            "introspect_new_cpu_us",
            "added_p50_us",
            "added_p99_us",
            "rss_idle_mb",
            "rss_1k_idle_mb",
            "rss_1k_active_mb",
            "rss_100k_tokens_mb",
            "start_to_ready_ms",
            "binary_mb",
            "image_mb",
            "allocations_per_request",
        ];
        expected.sort_unstable();
        assert_eq!(keys, expected);
        assert_eq!(object["binary_mb"], 10.5);
        assert_eq!(object["image_mb"], Value::Null);
    }

    #[test]
    fn a_line_says_goal_figure_and_verdict() {
        let line = of("cpu_us_over_hyper").line(Some(2.5));
        assert_eq!(line, "| CPU a request over the bare hyper proxy, one token | <= 3 us | 2.5 us | met |\n");
        assert!(of("image_mb").line(None).ends_with("| <= 15 MB |  | not measured |\n"));
        assert!(of("cached_vs_envoy_cached").line(Some(1.0)).contains("**missed**"));
    }
}
