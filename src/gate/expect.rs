//! Stand-in for the expectation parser, until the real one is merged.
#![expect(missing_docs, reason = "replaced by the real one")]

use std::fmt;

use crate::record::{Metric, Unit};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Statistic {
    Min,
    Mean,
    Max,
    Count,
    Quantile(f64),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    pub statistic: Statistic,
    operator: String,
    limit: f64,
    text: String,
}

#[derive(Debug, thiserror::Error)]
#[error("not an expectation: {0}")]
pub struct ExpectError(String);

impl Expectation {
    pub fn parse(text: &str, metric: Metric) -> Result<Self, ExpectError> {
        let fail = || ExpectError(text.to_owned());
        let words: Vec<&str> = text.split_whitespace().collect();
        let [name, operator, limit @ ..] = &words[..] else { return Err(fail()) };
        let statistic = match *name {
            "min" => Statistic::Min,
            "mean" => Statistic::Mean,
            "max" => Statistic::Max,
            "count" => Statistic::Count,
            p => Statistic::Quantile(p.strip_prefix('p').and_then(|p| p.parse::<f64>().ok()).ok_or_else(fail)? / 100.0),
        };
        let limit = limit.concat();
        let digits = limit.find(|c: char| c.is_alphabetic() || c == '%').unwrap_or(limit.len());
        let number: f64 = limit[..digits].parse().map_err(|_| fail())?;
        let scale = match (&limit[digits..], metric.unit()) {
            ("%", Unit::Ratio) => 0.01,
            ("Mbit/s", _) => 1e6,
            ("s", _) => 1e3,
            _ => 1.0,
        };
        Ok(Self { statistic, operator: (*operator).to_owned(), limit: number * scale, text: text.to_owned() })
    }

    pub fn holds(&self, observed: f64) -> bool {
        match self.operator.as_str() {
            "<" => observed < self.limit,
            "<=" => observed <= self.limit,
            ">" => observed > self.limit,
            ">=" => observed >= self.limit,
            _ => observed == self.limit,
        }
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
