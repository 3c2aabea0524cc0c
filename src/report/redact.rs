//! Keeps secrets out of what is written down.

/// Words in an option's name that make its value a secret.
const SECRET_WORDS: [&str; 4] = ["password", "secret", "credential", "token"];

/// A command line with the values of secret options, and passwords within URLs, replaced by `***`.
pub fn command_line(arguments: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut hide_next = false;
    arguments
        .into_iter()
        .map(|argument| {
            if std::mem::take(&mut hide_next) && !argument.starts_with('-') {
                return "***".to_owned();
            }
            // `--set=ice.credential=a=b`: the name may follow an equals sign, and the value may hold one.
            let mut ends = argument.match_indices('=').map(|(end, _)| end);
            if let Some(end) = ends.find(|end| is_secret(&argument[..*end])) {
                return format!("{}=***", &argument[..end]);
            }
            hide_next = argument.starts_with('-') && !argument.contains('=') && is_secret(&argument);
            without_password(argument)
        })
        .collect()
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

/// `scheme:user:password@host` and `scheme://user:password@host` (RFC 3986, section 3.2.1) without the password.
fn without_password(argument: String) -> String {
    let Some((before, host)) = argument.rsplit_once('@') else { return argument };
    let start = before.find("://").map_or_else(|| before.find(':').map_or(0, |colon| colon + 1), |scheme| scheme + 3);
    match before[start..].find(':') {
        Some(colon) => format!("{}***@{host}", &before[..=start + colon]),
        None => argument,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_and_the_rest_is_kept() {
        for (given, shown) in [
            ("harness run a.toml --seed 3", "harness run a.toml --seed 3"),
            ("harness probe --password hunter2 turn:t.example", "harness probe --password *** turn:t.example"),
            ("harness probe --password=hunter2", "harness probe --password=***"),
            ("harness run a.toml --set ice.credential=a=b", "harness run a.toml --set ice.credential=***"),
            ("harness run a.toml --set=ice.credential=a=b", "harness run a.toml --set=ice.credential=***"),
            ("harness probe turn:bob:hunter2@t.example:3478", "harness probe turn:bob:***@t.example:3478"),
            ("harness run wss://bob:hunter2@s.example/ws", "harness run wss://bob:***@s.example/ws"),
            (
                "harness run a.toml --set media.video.frame_rate=30",
                "harness run a.toml --set media.video.frame_rate=30",
            ),
        ] {
            assert_eq!(command_line(given.split(' ').map(String::from)).join(" "), shown);
        }
    }
}
