//! Files that are made by the program itself and committed: they are what it makes now. `UPDATE=1`
//! writes them anew, as `./x generate` does.

#![expect(clippy::disallowed_types, reason = "tests run programs")]

use std::{collections::BTreeMap, env, fs, path::Path, process::Command};

use crate::support::NETCORD;

#[test]
fn completions_are_what_the_program_prints() {
    for program in ["netcord", "netcord-agent"] {
        for (shell, before, after) in
            [("bash", "", ".bash"), ("zsh", "_", ""), ("fish", "", ".fish")]
        {
            let printed =
                Command::new(NETCORD).args(["completions", shell, program]).output().unwrap();
            assert!(printed.status.success());
            let file = Path::new("completions").join(format!("{before}{program}{after}"));
            check(&file, &String::from_utf8(printed.stdout).unwrap());
        }
    }
}

#[test]
fn manual_pages_are_what_the_program_writes() {
    let made = tempfile::tempdir().unwrap();
    let run = Command::new(NETCORD).args(["man", "--dir"]).arg(made.path()).output().unwrap();
    assert!(run.status.success());
    let pages = files(made.path());
    for page in ["netcord.8", "netcord-attach.8", "netcord-agent.8"] {
        assert!(pages.contains_key(page), "{page}");
    }
    for (name, text) in &pages {
        check(&Path::new("man").join(name), text);
    }
    let committed = files(&root().join("man"));
    assert_eq!(committed.keys().collect::<Vec<_>>(), pages.keys().collect::<Vec<_>>());
}

#[test]
fn manual_pages_render_without_a_warning() {
    for name in files(&root().join("man")).keys() {
        let page = root().join("man").join(name);
        let run = Command::new("man")
            .args(["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"])
            .arg(&page)
            .env("MANWIDTH", "80")
            .output()
            .expect("man (man-db) runs");
        let told = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success() && told.is_empty(), "{name}: {told}");
    }
}

#[test]
fn completion_scripts_load_in_their_shells() {
    for (shell, arguments) in [
        (
            "bash",
            vec![
                "--norc",
                "-c",
                "source completions/netcord.bash && source completions/netcord-agent.bash && \
                 complete -p netcord netcord-agent",
            ],
        ),
        (
            "zsh",
            vec![
                "-f",
                "-c",
                "autoload -U compinit && compinit -u -D && source completions/_netcord && \
                 echo $_comps[netcord] && source completions/_netcord-agent && \
                 (( $+_comps[netcord-agent] ))",
            ],
        ),
        (
            "fish",
            vec![
                "--no-config",
                "-c",
                "source completions/netcord.fish && complete -C 'netcord ' >/dev/null && \
                 source completions/netcord-agent.fish && \
                 complete -C 'netcord-agent --' | grep -q foreground",
            ],
        ),
    ] {
        let bin = Path::new(NETCORD).parent().unwrap();
        let path = format!("{}:{}", bin.display(), env::var("PATH").unwrap());
        let run = Command::new(shell)
            .args(&arguments)
            .env("PATH", path)
            .current_dir(root())
            .output()
            .unwrap_or_else(|e| panic!("{shell} runs: {e}"));
        assert!(run.status.success(), "{shell}: {}", String::from_utf8_lossy(&run.stderr));
    }
}

fn check(file: &Path, text: &str) {
    let path = root().join(file);
    if env::var_os("UPDATE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == text, "{} is not what netcord makes: run `./x generate`", file.display());
}

fn files(dir: &Path) -> BTreeMap<String, String> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read_to_string(entry.path()).unwrap())
        })
        .collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
