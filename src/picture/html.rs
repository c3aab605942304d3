//! A graph as a web page: the SVG picture, in which a box under the pointer, or what a filter finds,
//! is shown with all that it is connected with.
//!
//! The page is one file, and loads nothing. Its script reads the text of the picture, so nothing from
//! outside has to be escaped for a script.

use super::svg;
use crate::model::graph::Graph;

const PAGE: &str = include_str!("page.html");
const PLACE: &str = "<!-- picture -->";

/// Returns an HTML document; with `fold`, many boxes of a kind are folded into one.
pub fn draw(graph: &Graph, fold: bool) -> String {
    PAGE.replacen(PLACE, &svg::draw(graph, fold), 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::sample;

    #[test]
    fn names_cannot_be_markup_or_script() {
        let mut graph = sample::odd();
        for name in ["</script><script>x()", "<!-- picture -->", "\" onload=\"x()"] {
            graph.segments[0].ports.push(sample::port(name, 20));
        }
        let page = draw(&graph, false);
        assert_eq!(page.matches("<script>").count(), 1);
        assert_eq!(page.matches("</script>").count(), 1);
        assert!(page.contains("&lt;/script&gt;") && page.contains("&lt;!-- picture --&gt;"));
        assert!(!page.lines().any(|line| line.starts_with("<rect") && line.contains("onload")));
    }

    #[test]
    fn nothing_is_loaded() {
        let page = draw(&sample::mixed(), true);
        let page = page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
        for word in ["http:", "https:", "//", "src=", "@import", "url("] {
            let own = ["url(#arrow)", "// A target"];
            let page = own.iter().fold(page.clone(), |page, own| page.replace(own, ""));
            assert!(!page.contains(word), "{word}");
        }
    }
}
