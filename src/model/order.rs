//! The order of names in listings.

use std::cmp::Ordering;

/// `net2` before `net10`.
pub fn natural_order(a: &str, b: &str) -> Ordering {
    let split = |text: &str| {
        let digits = text.find(|c: char| c.is_ascii_digit()).unwrap_or(text.len());
        let (word, rest) = text.split_at(digits);
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, rest) = rest.split_at(end);
        (word.to_owned(), number.parse::<u128>().ok(), rest.to_owned())
    };
    let (mut a, mut b) = (a.to_owned(), b.to_owned());
    loop {
        let ((word_a, number_a, rest_a), (word_b, number_b, rest_b)) = (split(&a), split(&b));
        let order = word_a.cmp(&word_b).then(number_a.cmp(&number_b));
        if order != Ordering::Equal || (rest_a.is_empty() && rest_b.is_empty()) {
            return order.then_with(|| a.cmp(&b));
        }
        (a, b) = (rest_a, rest_b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_as_people_count() {
        let mut names = ["net10", "net2", "br", "net2b", "net1"];
        names.sort_by(|a, b| natural_order(a, b));
        assert_eq!(names, ["br", "net1", "net2", "net2b", "net10"]);
    }
}
