//! The few SVG shapes of the page. Drawings stretch to the width they are given and hold no text: labels are HTML, so that
//! they stay readable at every width.

use std::fmt::Write as _;

/// A drawing in a coordinate system of `width` × `height`, stretched to the element's size.
pub(super) struct Drawing {
    body: String,
    width: f64,
    height: f64,
}

impl Drawing {
    pub(super) fn new(width: f64, height: f64) -> Self {
        Self { body: String::new(), width, height }
    }

    /// A filled rectangle with a tooltip.
    pub(super) fn rect(&mut self, class: &str, x: f64, y: f64, width: f64, height: f64, title: &str) {
        let (x, y, width, height) = (short(x), short(y), short(width), short(height));
        let _ = write!(
            self.body,
            r#"<rect class="{class}" x="{x}" y="{y}" width="{width}" height="{height}"><title>{}</title></rect>"#,
            escape(title)
        );
    }

    /// A vertical line over the whole height.
    pub(super) fn vertical(&mut self, class: &str, x: f64) {
        let x = short(x);
        let _ = write!(self.body, r#"<path class="{class}" d="M{x} 0V{}"/>"#, short(self.height));
    }

    /// Bars side by side over the whole width, as high as their share of the greatest.
    pub(super) fn bars(&mut self, class: &str, values: &[f64]) {
        let greatest = values.iter().copied().fold(0.0, f64::max);
        if greatest <= 0.0 {
            return;
        }
        let step = self.width / values.len() as f64;
        let mut path = String::new();
        for (index, value) in values.iter().enumerate().filter(|(_, value)| **value > 0.0) {
            // A single sample among thousands must still be seen.
            let height = (value / greatest).max(0.12) * self.height;
            let (x, y) = (short(index as f64 * step), short(self.height - height));
            let _ = write!(path, "M{x} {}V{y}h{}V{}z", short(self.height), short(step), short(self.height));
        }
        let _ = write!(self.body, r#"<path class="{class}" d="{path}"/>"#);
    }

    /// A line through points whose coordinates are shares, 0 to 1, of width and height; a gap where there is no value.
    pub(super) fn line(&mut self, class: &str, points: &[(f64, Option<f64>)]) {
        let mut path = String::new();
        let mut pen_down = false;
        for (x, y) in points {
            let Some(y) = y else {
                pen_down = false;
                continue;
            };
            let command = if pen_down { 'L' } else { 'M' };
            let (x, y) = (short(x * self.width), short((1.0 - y.clamp(0.0, 1.0)) * self.height));
            let _ = write!(path, "{command}{x} {y}");
            if !pen_down {
                // A point alone between two gaps is drawn by the round cap of an empty line.
                let _ = write!(path, "h0");
            }
            pen_down = true;
        }
        let _ = write!(self.body, r#"<path class="{class}" d="{path}"/>"#);
    }

    /// The element; `label` describes it to those who cannot see it.
    pub(super) fn finish(self, class: &str, label: &str) -> String {
        format!(
            r#"<svg class="{class}" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>"#,
            short(self.width),
            short(self.height),
            escape(label),
            self.body
        )
    }
}

/// Two decimals at most.
fn short(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_cannot_become_markup() {
        let mut drawing = Drawing::new(10.0, 1.0);
        drawing.rect("ice", 0.0, 0.0, 1.0 / 3.0, 1.0, "<script>");
        let svg = drawing.finish("bar", "\"x\"");
        assert!(!svg.contains("<script>") && svg.contains("&quot;x&quot;") && svg.contains(r#"width="0.33""#), "{svg}");
    }

    #[test]
    fn a_missing_value_is_a_gap() {
        let mut drawing = Drawing::new(100.0, 10.0);
        drawing.line("a", &[(0.0, Some(0.0)), (0.5, None), (1.0, Some(1.0))]);
        assert!(drawing.finish("b", "").contains("M0 10h0M100 0h0"));
    }
}
