//! A long activity, described for a user who waits for it.

use std::{
    borrow::Cow,
    fmt::{self, Debug, Formatter},
};

/// The description of an activity: fixed, or made when it is shown.
pub enum Activity {
    /// A fixed text.
    Known(Cow<'static, str>),
    /// A text that is made each time.
    Asked(Box<dyn Fn() -> String + Send>),
}

impl From<&'static str> for Activity {
    fn from(text: &'static str) -> Self {
        Self::Known(text.into())
    }
}

impl From<String> for Activity {
    fn from(text: String) -> Self {
        Self::Known(text.into())
    }
}

impl<F: Fn() -> String + Send + 'static> From<F> for Activity {
    fn from(ask: F) -> Self {
        Self::Asked(Box::new(ask))
    }
}

impl Debug for Activity {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.now())
    }
}

impl Activity {
    /// Returns the current text.
    pub fn now(&self) -> Cow<'_, str> {
        match self {
            Self::Known(text) => Cow::Borrowed(text),
            Self::Asked(ask) => ask().into(),
        }
    }
}
