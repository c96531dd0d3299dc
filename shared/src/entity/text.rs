//! Text in canonical form.

/// Longest value of a field that names a thing, in characters; keys longer than that fit no index.
pub(super) const LINE_LIMIT: usize = 250;

/// Trims a one-line text and folds its runs of white space into one space. Control characters count as white space.
pub fn clean_line(text: &str) -> String {
    text.split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Normalises line ends and trims the ends of a text of several lines; what stands inside a line stays.
pub fn clean_text(text: &str) -> String {
    let unified = text.replace("\r\n", "\n").replace('\r', "\n");
    unified
        .lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n")
        .trim()
        .to_owned()
}

/// Turns an optional text into its canonical form: cleaned, and none where nothing is left.
pub(super) fn optional(text: Option<String>, clean: fn(&str) -> String) -> Option<String> {
    text.map(|text| clean(&text)).filter(|text| !text.is_empty())
}
