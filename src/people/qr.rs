//! QR codes for terminals (ISO/IEC 18004).

use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};

/// A text as a QR code, two modules to a character. Scanners expect dark on light: with `colour` that is asked for; without,
/// it is what a terminal with light text on a dark ground shows. Empty for a text that is too long for a code.
pub(super) fn code(text: &str, colour: bool) -> String {
    // A screen is neither stained nor torn.
    let Ok(code) = QrCode::with_error_correction_level(text, EcLevel::L) else { return String::new() };
    let mut image = code.render::<Dense1x2>();
    if !colour {
        return image.dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build();
    }
    // 16 and 231 are black and white in every scheme (xterm's palette), where 0 and 15 are what the user likes.
    let line = |line: &str| format!("\x1b[38;5;16;48;5;231m{line}\x1b[0m");
    image.build().lines().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_a_square_with_its_quiet_zone() {
        let code = code("https://192.168.1.5:8443/", false);
        let lines: Vec<&str> = code.lines().collect();
        // Version 2 has 25 modules a side, and a quiet zone of four all around (ISO/IEC 18004, section 9.1).
        assert!(lines.iter().all(|line| line.chars().count() == 33), "{code}");
        assert_eq!(lines.len(), 17);
        assert!(lines[0].chars().all(|c| c == '█'), "{code}");
    }

    #[test]
    fn colours_end_with_the_line() {
        for line in code("x", true).lines() {
            assert!(line.starts_with("\x1b[38;5;16;48;5;231m") && line.ends_with("\x1b[0m"), "{line:?}");
        }
    }

    #[test]
    fn what_no_code_can_hold_gives_none() {
        assert_eq!(code(&"x".repeat(3000), true), "");
    }
}
