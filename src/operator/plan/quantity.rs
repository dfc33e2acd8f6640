//! Whether two Kubernetes quantities are the same amount: the API server rewrites `1000m` as `1`.

/// Same amount; texts that are no quantities are compared as texts.
#[must_use]
pub fn same_amount(a: &str, b: &str) -> bool {
    match (amount(a), amount(b)) {
        // A double holds 15 digits.
        (Some(a), Some(b)) => (a - b).abs() <= 1e-12 * a.abs().max(b.abs()) || thousandths(a) == thousandths(b),
        _ => a == b,
    }
}

/// The API server rounds the amounts of a container up to these.
fn thousandths(amount: f64) -> f64 {
    // Less what a double may be off by.
    (amount * 1e3 - 1e-9).ceil()
}

/// The amount in base units: <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>.
fn amount(text: &str) -> Option<f64> {
    let split = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-'))).unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let number: f64 = number.parse().ok()?;
    let factor = match suffix {
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024f64.powi(2),
        "Gi" => 1024f64.powi(3),
        "Ti" => 1024f64.powi(4),
        "Pi" => 1024f64.powi(5),
        "Ei" => 1024f64.powi(6),
        exponent => 10f64.powi(exponent.strip_prefix(['e', 'E'])?.parse().ok()?),
    };
    Some(number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_amount_in_other_words_is_the_same() {
        for (a, b) in [("1000m", "1"), ("0.02", "20m"), ("1024Ki", "1Mi"), ("1e3", "1k"), ("128974848", "123Mi")] {
            assert!(same_amount(a, b), "{a} {b}");
        }
    }

    #[test]
    fn an_amount_is_rounded_up_to_thousandths() {
        for (a, b) in [("0.0125", "13m"), ("100u", "1m"), ("0.0000000001", "1m"), ("2.0000000001", "2001m")] {
            assert!(same_amount(a, b), "{a} {b}");
        }
        for (a, b) in [("0.0125", "12m"), ("1001m", "1"), ("7m", "8m"), ("0", "1m")] {
            assert!(!same_amount(a, b), "{a} {b}");
        }
    }

    #[test]
    fn other_amounts_are_not_the_same() {
        for (a, b) in [("1", "2"), ("1M", "1Mi"), ("20m", "21m"), ("64Mi", "64M"), ("x", "y")] {
            assert!(!same_amount(a, b), "{a} {b}");
        }
    }
}
