//! The guide: what it names is there, and what is there it names (R86).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

const PAGES: [&str; 8] = [
    "README.md",
    "QUICKSTART.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "api/PROBLEMS.md",
    "api/ROLES.md",
    "deploy/METRICS.md",
    "migrations/README.md",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(page: &Path) -> String {
    std::fs::read_to_string(page).unwrap_or_else(|error| panic!("{}: {error}", page.display()))
}

/// The anchor of a heading, as forges make it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    kept.chars()
        .filter(|one| one.is_alphanumeric() || matches!(one, ' ' | '-' | '_'))
        .map(|one| if one == ' ' { '-' } else { one })
        .collect()
}

/// Where a page points to by `](…)`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

/// What stands between backticks on one line.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// R86: every page and chapter that the guide points to is there.
#[test]
fn what_the_guide_points_to_is_there() {
    let mut checked = 0;
    for page in PAGES {
        let page = root().join(page);
        let text = read(&page);
        for link in links(&text).filter(|link| !link.contains("://")) {
            let (file, chapter) = link
                .split_once('#')
                .map_or((link, None), |(file, at)| (file, Some(at)));
            let target = if file.is_empty() {
                page.clone()
            } else {
                page.parent().unwrap().join(file)
            };
            assert!(target.exists(), "R86: {} points to `{link}`", page.display());
            if let Some(chapter) = chapter {
                let text = read(&target);
                let mut headings = text.lines().filter(|line| line.starts_with('#'));
                assert!(
                    headings.any(|line| anchor(line.trim_start_matches('#')) == chapter),
                    "R86: {} points to `{link}`",
                    page.display()
                );
            }
            checked += 1;
        }
    }
    assert!(checked > 10, "{checked} links were looked at");
}

/// The operations of the document: method, address, name.
fn operations() -> Vec<(String, String, String)> {
    let document: Value = serde_json::from_str(include_str!("../../api/openapi.json")).unwrap();
    let mut operations = Vec::new();
    for (address, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            if let Some(name) = operation["operationId"].as_str() {
                operations.push((method.to_uppercase(), address.clone(), name.to_owned()));
            }
        }
    }
    operations
}

/// R86: the guide tells by which requests to connect systems, start a sync, watch it, pause it, have it go on, end it and handle
/// its conflicts; and each request that it tells of is one of the document.
#[test]
fn the_requests_that_the_guide_tells_of_are_those_of_the_document() {
    let operations = operations();
    let mut told = BTreeSet::new();
    for page in ["README.md", "QUICKSTART.md"] {
        let text = read(&root().join(page));
        for request in quoted(&text) {
            let Some((method, address)) = request.split_once(' ') else {
                continue;
            };
            if !matches!(method, "GET" | "POST" | "PUT" | "PATCH" | "DELETE") {
                continue;
            }
            let address = address.split('?').next().unwrap();
            let found = operations.iter().find(|(of, known, _)| {
                of == method
                    && address.strip_prefix('…').map_or_else(
                        || known == address || known.strip_prefix("/api/v1") == Some(address),
                        |end| known.ends_with(end),
                    )
            });
            let (_, _, name) = found.unwrap_or_else(|| panic!("R86: {page} tells of `{request}`"));
            told.insert(name.as_str());
        }
    }
    for name in [
        "createConnection",
        "checkConnection",
        "startSync",
        "getSync",
        "pauseSync",
        "listConflicts",
        "resolveConflict",
        "resolveConflicts",
        "orchestrateSync",
    ] {
        assert!(
            told.contains(name),
            "R86: the guide does not tell of {name}: {told:?}"
        );
    }
    let guide = read(&root().join("README.md"));
    for command in ["/pause`", "/resume`", "/cancel`"] {
        assert!(guide.contains(command), "R86: {command}");
    }
}

/// The variables that programs take from the environment.
fn variables() -> BTreeSet<String> {
    let mut variables = BTreeSet::new();
    for program in ["api/src/main.rs", "api/src/config.rs", "worker/src/options.rs"] {
        let source = read(&root().join(program));
        for rest in source.split("env = \"").skip(1) {
            variables.insert(rest.split('"').next().unwrap().to_owned());
        }
    }
    variables
}

/// R86: the guide has every variable that a program takes, and none that no program knows.
#[test]
fn the_guide_has_every_variable_of_the_environment() {
    let guide = read(&root().join("README.md"));
    let named: BTreeSet<&str> = quoted(&guide)
        .filter(|word| word.starts_with("LOCKSTEP_"))
        .collect();
    let known = variables();
    for variable in &known {
        assert!(guide.contains(&format!("`{variable}`")), "R86: `{variable}`");
    }
    for variable in named {
        assert!(known.contains(variable), "R86: no program takes `{variable}`");
    }
}
