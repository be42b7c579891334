//! Checks the documents where a test can: limits match the code, and links have a target.

use std::fs;
use std::path::Path;

/// Returns the rows of the tables of limits: name, value as in the code, file.
fn limits(page: &str) -> Vec<[String; 3]> {
    let rows = page.lines().filter(|line| line.starts_with("| `") && line.contains("`crates/"));
    let cell = |row: &str, column: usize| row.split('|').nth(column).unwrap_or_default().trim().replace('`', "");
    rows.map(|row| [cell(row, 1), cell(row, 2), cell(row, 5)]).collect()
}

#[test]
fn the_tables_of_limits_are_what_the_code_has() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = fs::read_to_string(root.join("docs/limits.md")).expect("the page is there");
    let limits = limits(&page);
    assert!(limits.len() > 50, "{limits:?}");
    for [name, value, file] in limits {
        let code = fs::read_to_string(root.join(&file)).unwrap_or_else(|error| panic!("{name}: {file}: {error}"));
        let line = code.lines().find(|line| line.contains(&format!("const {name}: ")));
        let line = line.unwrap_or_else(|| panic!("{file} has no {name}"));
        assert!(line.ends_with(&format!(" = {value};")), "docs/limits.md: {name} is {value} there, in {file}: {line}");
    }
}

/// Directories of documents, relative to the root of the repository.
const DOCUMENTS: [&str; 4] = [".", "docs", "packaging", "compat-tests"];

#[test]
fn links_between_documents_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut broken = Vec::new();
    for folder in DOCUMENTS {
        for entry in fs::read_dir(root.join(folder)).expect("the folder is there") {
            let file = entry.expect("an entry").path();
            if file.extension().is_some_and(|it| it == "md") {
                let text = prose(&file);
                let links = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link);
                let own = links.filter(|link| !link.contains("://") && !link.contains(' '));
                broken.extend(
                    own.filter(|link| !leads_somewhere(&file, link)).map(|link| format!("{}: {link}", file.display())),
                );
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Returns a document without its code blocks.
fn prose(file: &Path) -> String {
    let text = fs::read_to_string(file).expect("the document is there");
    text.split("\n```").step_by(2).collect()
}

fn leads_somewhere(from: &Path, link: &str) -> bool {
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let to = if path.is_empty() { from.to_owned() } else { from.parent().expect("a folder").join(path) };
    if !to.exists() || anchor.is_empty() {
        return to.exists();
    }
    let text = prose(&to);
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.into_iter().any(|line| slug(line.trim_start_matches('#').trim()) == anchor)
}

/// Returns the anchor of a heading.
fn slug(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|it| it.is_alphanumeric() || matches!(it, ' ' | '-' | '_'));
    kept.map(|it| if it == ' ' { '-' } else { it }).collect()
}
