//! The process's own metrics, read back from their text: what the dashboard shows is what Prometheus sees.

use std::collections::HashMap;

/// One reading.
#[derive(Clone, Debug, Default)]
pub struct Figures(HashMap<String, f64>);

impl Figures {
    /// Reads Prometheus text.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let figures = lines.filter_map(|line| {
            // A label's value may hold a space, the figure does not.
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Self(figures.collect())
    }

    /// One series, by its name with labels; zero when nothing was counted yet.
    pub fn get(&self, series: &str) -> f64 {
        self.0.get(series).copied().filter(|value| value.is_finite()).unwrap_or_default()
    }

    /// All series of a name, with their labels.
    pub fn series<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        self.0.iter().filter_map(move |(series, value)| {
            let labels = series.strip_prefix(name)?;
            (labels.is_empty() || labels.starts_with('{')).then_some((labels, *value))
        })
    }

    /// The sum of all series of a name.
    pub fn sum(&self, name: &str) -> f64 {
        self.series(name).fold(0.0, |sum, (_, value)| sum + value)
    }
}

/// The value of one label in `{a="x",b="y"}`.
pub fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    let begin = labels.find(&format!("{name}=\""))? + name.len() + 2;
    let rest = &labels[begin..];
    rest.find('"').map(|end| &rest[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_found_by_name_and_labels() {
        let text = "# TYPE farebox_x counter\nfarebox_x{kind=\"a b\",endpoint=\"n\"} 2\nfarebox_x{kind=\"c\"} 3\n\
                    farebox_x_sum 9\nfarebox_y 0.5\nfarebox_z NaN\n";
        let figures = Figures::parse(text);
        assert_eq!(figures.get("farebox_y"), 0.5);
        assert_eq!(figures.get("farebox_z"), 0.0);
        assert_eq!(figures.get("farebox_x{kind=\"c\"}"), 3.0);
        assert_eq!(figures.sum("farebox_x"), 5.0);
        let labels: Vec<_> =
            figures.series("farebox_x").filter_map(|(labels, _)| label(labels, "kind")).collect();
        assert!(labels.contains(&"a b") && labels.contains(&"c"), "{labels:?}");
        assert_eq!(label("{kind=\"a\"}", "endpoint"), None);
    }
}
