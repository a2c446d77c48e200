//! stub
pub fn run(_: bool, _: Option<&str>) -> anyhow::Result<std::process::ExitCode> {
    anyhow::bail!("later")
}
