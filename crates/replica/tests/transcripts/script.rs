//! A script: groups of commands, each followed by `----` and its outcome, up to an empty line.
//! Everything outside a group (comments, empty lines) stays as it is.

/// Line that ends the commands of a group.
const DIVIDER: &str = "----";

/// A part of a script.
#[derive(Debug)]
pub(crate) enum Part {
    /// A comment or an empty line.
    Aside(String),
    Group {
        line: usize,
        commands: Vec<String>,
        expected: Vec<String>,
    },
}

/// Parses a script.
pub(crate) fn parse(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((at, line)) = lines.next() {
        if line.trim().is_empty() || line.starts_with('#') {
            parts.push(Part::Aside(line.to_owned()));
            continue;
        }
        let mut commands = vec![line.to_owned()];
        while let Some((_, line)) = lines.next_if(|(_, line)| *line != DIVIDER) {
            commands.push(line.to_owned());
        }
        assert!(lines.next().is_some(), "line {}: no {DIVIDER} comes behind these commands", at + 1);
        let mut expected = Vec::new();
        while let Some((_, line)) = lines.next_if(|(_, line)| !line.is_empty()) {
            expected.push(line.to_owned());
        }
        parts.push(Part::Group { line: at + 1, commands, expected });
    }
    parts
}

/// Formats a script.
pub(crate) fn print(parts: &[Part]) -> String {
    let mut text = String::new();
    let mut put = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    for part in parts {
        match part {
            Part::Aside(line) => put(line),
            Part::Group { commands, expected, .. } => {
                commands.iter().for_each(|line| put(line));
                put(DIVIDER);
                expected.iter().for_each(|line| put(line));
            }
        }
    }
    text
}
