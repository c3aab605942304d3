//! Faults between steps, from within: netcord's library, watched by this program.

#![expect(clippy::disallowed_types, reason = "tests run programs")]

use std::{
    env::{self, Args},
    process::{Command, ExitCode, Stdio},
};

use anyhow::bail;
use clap::Parser;
use netcord::{
    cli::{self, Cli},
    output,
    plan::Class,
};
use rustix::process::{Signal, getpid, kill_process};

use crate::support::{Lab, Run, Scenario, Stage};

/// The first argument of this program where it is to be netcord: what to do at which step, and
/// netcord's arguments, come after it.
pub(crate) const AS_NETCORD: &str = "--as-netcord";

/// No plan has more steps.
const STEPS_MAX: usize = 200;

/// Runs netcord with a fault at one step.
pub(crate) fn netcord(mut arguments: Args) -> ExitCode {
    let fault = arguments.next().unwrap_or_default();
    let at: usize = arguments.next().and_then(|k| k.parse().ok()).unwrap_or_default();
    let cli = match Cli::try_parse_from([String::from("netcord")].into_iter().chain(arguments)) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let color = cli.color();
    // A command may carry out several plans: steps are counted through. Those that travel in one
    // message are one point, as nothing is done between them.
    let (mut points, mut was_move) = (0, false);
    let result = cli::run(cli, &mut |_, step| {
        let is_move = matches!(step.change.facts().class, Class::Moved(_));
        let is_point = match fault.as_str() {
            "kill-around-moves" => is_move != was_move,
            _ => !(is_move && was_move),
        };
        was_move = is_move;
        points += usize::from(is_point);
        if is_point && points - 1 == at {
            match fault.as_str() {
                "fail" => bail!("this step fails"),
                "kill" | "kill-around-moves" => kill_process(getpid(), Signal::KILL)?,
                "interrupt" => kill_process(getpid(), Signal::INT)?,
                "terminate" => kill_process(getpid(), Signal::TERM)?,
                "steal" => steal()?,
                other => bail!("no fault `{other}`"),
            }
        }
        Ok(())
    });
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => ExitCode::from(output::report(&error, color)),
    }
}

/// The script by which a thief takes something away.
const THEFT: &str = "THEFT";

fn steal() -> anyhow::Result<()> {
    let script = format!("touch /run/stolen; {}", env::var(THEFT)?);
    // It may be gone already.
    Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).status()?;
    Ok(())
}

/// Runs netcord, with a thief who comes before one step.
pub(crate) fn with_thief(lab: &Lab, firewall: &str, words: &str, at: usize, how: &str) -> Run {
    let program = env::current_exe().unwrap();
    let mut command = lab.command(program.to_str().unwrap());
    command.env(THEFT, how).args([AS_NETCORD, "steal", &at.to_string(), "--firewall", firewall]);
    Run::new(words.to_owned(), &command.args(words.split(' ')).output().unwrap())
}

/// What netcord calls itself to guard an underlay network.
pub(crate) const WATCHDOG: &str = "watchdog";

/// Runs netcord's watchdog, as it is.
pub(crate) fn watchdog(arguments: Args) -> ExitCode {
    let words = ["netcord", WATCHDOG].map(String::from).into_iter().chain(arguments);
    match cli::run(Cli::parse_from(words), &mut |_, _| Ok(())) {
        Ok(code) => ExitCode::from(code),
        Err(_) => ExitCode::FAILURE,
    }
}

fn with_fault(stage: &Stage, fault: &str, at: usize) -> Run {
    let program = env::current_exe().unwrap();
    let mut command = stage.lab.command(program.to_str().unwrap());
    command.args([AS_NETCORD, fault, &at.to_string()]).args(stage.command.split(' '));
    Run::new(format!("{} with {fault} at step {at}", stage.command), &command.output().unwrap())
}

/// A failing step: everything before it is undone.
pub(crate) fn rollback(scenario: &Scenario) {
    undone(scenario, "fail", 1, 1);
}

/// Ctrl-C.
pub(crate) fn interrupted(scenario: &Scenario) {
    undone(scenario, "interrupt", 130, 2);
}

/// What a service manager sends.
pub(crate) fn terminated(scenario: &Scenario) {
    undone(scenario, "terminate", 143, 7);
}

/// At every step, or every so many: signals come the same way, whatever step they meet.
fn undone(scenario: &Scenario, fault: &str, code: i32, every: usize) {
    let stage = scenario.stage();
    let before = stage.lab.snapshot();
    stage.run().ok();
    let after = stage.lab.snapshot();
    stage.run_inverse().ok();
    for at in (0..STEPS_MAX).step_by(every) {
        let run = with_fault(&stage, fault, at);
        if run.code == 0 {
            after.assert_same(&stage.lab.snapshot(), &run.command);
            assert!(at > 0, "{} has steps", stage.command);
            return;
        }
        let when = run.command.clone();
        let now = stage.lab.snapshot();
        if scenario.is_removal() && now != before {
            // A link that is gone cannot come back: the rest follows, now or the next time.
            let again = stage.run();
            assert!(matches!(again.code, 0 | 3), "{when}, again: {}", again.stderr);
            after.assert_same(&stage.lab.snapshot(), &format!("{when}, again"));
            stage.run_inverse().ok();
        } else {
            run.fails(code, &[]);
        }
        before.assert_same(&stage.lab.snapshot(), &when);
    }
    panic!("{} does not end", stage.command);
}

/// SIGKILL at each step: nobody rolls back.
pub(crate) fn killed(scenario: &Scenario) {
    killed_by(scenario, "kill");
}

/// SIGKILL before and after each message that moves what hangs on a link, however much that is.
pub(crate) fn killed_around_moves(scenario: &Scenario) {
    killed_by(scenario, "kill-around-moves");
}

fn killed_by(scenario: &Scenario, fault: &str) {
    let stage = scenario.stage();
    let states = States::of(&stage);
    for at in 0..STEPS_MAX {
        let kill = || with_fault(&stage, fault, at);
        let run = kill();
        if run.code == 0 {
            assert!(at > 0, "{} has steps", stage.command);
            return;
        }
        assert_eq!(run.code, 137, "{}: {}", run.command, run.stderr);
        states.recovers(&stage, &run.command, || drop(kill()));
    }
    panic!("{} does not end", stage.command);
}

/// The host before and after an undisturbed run.
pub(crate) struct States {
    pub(crate) before: crate::support::Snapshot,
    pub(crate) after: crate::support::Snapshot,
}

impl States {
    #[track_caller]
    pub(crate) fn of(stage: &Stage) -> Self {
        let before = stage.lab.snapshot();
        stage.run().ok();
        let after = stage.lab.snapshot();
        stage.run_inverse().ok();
        before.assert_same(&stage.lab.snapshot(), "taken back");
        Self { before, after }
    }

    /// After a crash: the same command ends where an undisturbed run would; and after another such
    /// crash the inverse and `prune` take all of it back.
    #[track_caller]
    pub(crate) fn recovers(&self, stage: &Stage, when: &str, crash_again: impl FnOnce()) {
        let again = stage.run();
        assert!(
            matches!(again.code, 0 | 3),
            "{when}, then again: {}{}",
            again.stdout,
            again.stderr
        );
        self.after.assert_same(&stage.lab.snapshot(), &format!("{when}, then again"));
        stage.run_inverse().ok();
        self.before.assert_same(&stage.lab.snapshot(), &format!("{when}, again, and taken back"));
        crash_again();
        let inverse = stage.run_inverse();
        assert!(matches!(inverse.code, 0 | 3), "{when}, then taken back: {}", inverse.stderr);
        stage.lab.netcord("prune").ok();
        self.before.assert_same(&stage.lab.snapshot(), &format!("{when}, then taken back"));
    }
}
