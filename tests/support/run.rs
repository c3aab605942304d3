//! A program that ran, and what is expected of it.

use std::process::Output;

/// What a command did.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) command: String,
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    pub(crate) fn new(command: String, output: &Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let signal = || output.status.signal().map_or(-1, |s| 128 + s);
        Self {
            command,
            code: output.status.code().unwrap_or_else(signal),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// It succeeded; returns what it printed, without the last newline.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        self.exits(0).stdout.trim_end_matches('\n').to_owned()
    }

    /// It ended with this exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "`{}` exited {} instead of {code}\nstdout:\n{}\nstderr:\n{}",
            self.command, self.code, self.stdout, self.stderr
        );
        self
    }

    /// It failed with this exit code, in words: `error: ...`, no panic, and all of these parts.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, parts: &[&str]) -> Self {
        let run = self.exits(code);
        assert!(run.stderr.contains("error: "), "`{}` says no error:\n{}", run.command, run.stderr);
        for part in parts {
            assert!(
                run.stderr.contains(part),
                "`{}` does not say `{part}`:\n{}",
                run.command,
                run.stderr
            );
        }
        run
    }
}
