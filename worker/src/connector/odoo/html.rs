//! Texts of several lines as Odoo keeps them: as HTML, cleaned by a sanitiser of its own. Compared as plain text
//! (facts/mapping-odoo.md §1, §9).

use lockstep_shared::entity::clean_text;

/// Writes a text as HTML.
pub(super) fn to_html(text: &str) -> String {
    let escaped = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('\n', "<br>");
    format!("<p>{escaped}</p>")
}

/// Reads the text out of HTML: the end of a block or a `<br>` ends a line.
pub(super) fn to_text(html: &str) -> String {
    let mut text = String::with_capacity(html.len());
    let mut rest = html;
    while let Some((before, tag)) = rest.split_once('<') {
        text.push_str(before);
        let Some((tag, after)) = tag.split_once('>') else {
            rest = "";
            break;
        };
        if ends_line(tag) {
            text.push('\n');
        }
        rest = after;
    }
    text.push_str(rest);
    clean_text(&unescape(&text))
}

fn ends_line(tag: &str) -> bool {
    let name: String = tag
        .trim_start_matches('/')
        .chars()
        .take_while(char::is_ascii_alphanumeric)
        .collect();
    match name.to_lowercase().as_str() {
        "br" => true,
        "p" | "div" | "li" | "tr" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => tag.starts_with('/'),
        _ => false,
    }
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&#34;", "\"")
        .replace("&#39;", "'")
        .replace("&nbsp;", " ")
        .replace('\u{a0}', " ")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_comes_back_out_of_its_html() {
        for text in ["Ring twice", "A & B <c>\n\n&lt; \"d\"", "one\ntwo"] {
            assert_eq!(to_text(&to_html(text)), text);
        }
    }

    #[test]
    fn blocks_end_lines() {
        assert_eq!(to_text("<p>one</p><p>two<br/>three</p>"), "one\ntwo\nthree");
        assert_eq!(to_text("<div data-x=\"1\">a <b>b</b></div>"), "a b");
        assert_eq!(to_text("<p><br></p>"), "");
    }
}
