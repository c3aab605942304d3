//! What is being done, for somebody who has to wait for it.

use std::{
    borrow::Cow,
    fmt::{self, Debug, Formatter},
};

/// What is being done or waited for, in words: known already, or asked for when they are shown.
pub enum Activity {
    /// Known.
    Known(Cow<'static, str>),
    /// Asked for again each time.
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
    /// The words, as they are now.
    pub fn now(&self) -> Cow<'_, str> {
        match self {
            Self::Known(text) => Cow::Borrowed(text),
            Self::Asked(ask) => ask().into(),
        }
    }
}
