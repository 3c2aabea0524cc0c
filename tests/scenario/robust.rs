//! No text, however mangled, breaks the reader of scenarios; what it accepts, it can write and read back.

use harness::plan::Plan;
use harness::scenario::{Overrides, load};
use proptest::prelude::*;

const TEXT: &str = include_str!("../../scenarios/browsers.toml");

fn check(text: &str, overrides: &Overrides) -> Result<(), TestCaseError> {
    match load("a.toml", text, overrides) {
        Ok(loaded) => {
            let written = toml::to_string(&loaded.plan).unwrap();
            prop_assert_eq!(toml::from_str::<Plan>(&written).unwrap(), loaded.plan);
        }
        Err(errors) => {
            prop_assert!(!errors.0.is_empty());
            for place in errors.0.iter().filter_map(|error| error.place.as_ref()) {
                prop_assert!(place.span.end <= place.source.text().len(), "{errors}");
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn mangled_text(at in 0..TEXT.len(), length in 0..60_usize, insert in "[\\[\\]{}=\"'.a-z0-9µ\n -]{0,12}") {
        let end = (at + length).min(TEXT.len());
        prop_assume!(TEXT.is_char_boundary(at) && TEXT.is_char_boundary(end));
        check(&format!("{}{insert}{}", &TEXT[..at], &TEXT[end..]), &Overrides::default())?;
    }

    #[test]
    fn odd_overrides(
        key in "(peers|gate|topology|load|seed|name|plan|schema)(\\.(0|1|99|count|calls|native|hold|where)){0,4}",
        value in "(1|-1|0|none|\"\"|\\[\\]|\\{\\}|\\[1\\]|\\{ a = 1 \\}|1e400|10s|true|1979-05-27|.{0,10})",
    ) {
        let overrides = Overrides { set: vec![format!("{key}={value}")], ..Overrides::default() };
        check(TEXT, &overrides)?;
    }
}
