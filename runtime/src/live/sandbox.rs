//! Confines the threads that talk to the network: files by landlock, connections by landlock, system calls by seccomp. Default deny.
//!
//! Both hold for a thread and for what it starts. [`confined`] runs the start of the link on a thread that has confined itself; the link's
//! threads inherit it. What it is worth: a fault in the parsing of what comes from outside cannot open other files, start programs, or
//! reach other hosts by itself. What it is not: the threads share the process's memory with the others, so whoever runs code of their own
//! there can turn to an unconfined thread. The unit's own restrictions hold for all of them.
//!
//! A kernel without landlock or seccomp, or one that answers yes and enforces nothing (emulators do), is found out by trying what must be
//! refused; it is told, counted, and the link starts all the same.

use crate::live::health::BoardHealth;
use landlock::{
    ABI, Access, AccessFs, AccessNet, NetPort, PathBeneath, PathFd, RestrictionStatus, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetStatus,
};
use nix::errno::Errno;
use seccompiler::{SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch, apply_filter};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

/// What may be touched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confinement {
    /// Files and folders that may be read, beside what resolving names needs.
    pub read: Vec<PathBuf>,
    /// Folders in which files may be made, changed and removed.
    pub write: Vec<PathBuf>,
    /// TCP ports that may be connected to, beside 53 for name servers.
    pub connect: Vec<u16>,
}

/// What resolving names needs: the configuration, and the libraries that glibc loads for it.
const RESOLVER_PATHS: [&str; 11] = [
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/resolv.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/ld.so.cache",
    "/run/systemd/resolve",
    "/usr/lib",
    "/lib",
    "/lib64",
];

/// A file that exists on every Linux and that no confinement here lets through.
const FORBIDDEN_FILE: &str = "/proc/self/environ";

/// Name servers answer long answers over TCP.
const DOMAIN_PORT: u16 = 53;

/// What the kernel made of the wishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enforcement {
    /// Files and connections: `Ok` says how far, `Err` why not.
    pub landlock: Result<&'static str, String>,
    /// System calls.
    pub seccomp: Result<(), String>,
}

/// Runs `work` on a thread that has confined itself, and returns what it returned and what is enforced. Threads that `work` starts are
/// confined like it; the calling thread is not. `None` when no thread could be started, or `work` panicked.
pub fn confined<T: Send>(rules: &Confinement, work: impl FnOnce() -> T + Send) -> Option<(T, Enforcement)> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("confined".into()).spawn_scoped(scope, || {
            let enforcement = confine(rules);
            (work(), enforcement)
        });
        thread.ok()?.join().ok()
    })
}

/// Tells and counts what is not enforced.
pub fn report(enforcement: &Enforcement, health: &BoardHealth) {
    let mend = "The link runs unconfined as far as this goes";
    if let Err(why) = &enforcement.landlock {
        health.miss("landlock", why, mend);
    }
    if let Err(why) = &enforcement.seccomp {
        health.miss("seccomp", why, mend);
    }
}

/// Confines the calling thread for ever.
fn confine(rules: &Confinement) -> Enforcement {
    let landlock = restrict_files(rules).and_then(|status| match File::open(FORBIDDEN_FILE) {
        Ok(_) => Err("the kernel says that it restricts this thread, and does not".into()),
        Err(_) => Ok(status),
    });
    let seccomp = restrict_calls().and_then(|()| match nix::unistd::getsid(None) {
        // Not on the list, harmless, and never refused otherwise.
        Err(Errno::EPERM) => Ok(()),
        _ => Err("the kernel says that it filters this thread's system calls, and does not".into()),
    });
    Enforcement { landlock, seccomp }
}

fn restrict_files(rules: &Confinement) -> Result<&'static str, String> {
    let status = landlock_rules(rules).and_then(RulesetCreated::restrict_self).map_err(|error| error.to_string())?;
    match status {
        RestrictionStatus { ruleset: RulesetStatus::FullyEnforced, .. } => Ok("files and connections"),
        RestrictionStatus { ruleset: RulesetStatus::PartiallyEnforced, .. } => Ok("files, connections as far as this kernel can"),
        RestrictionStatus { .. } => Err("this kernel does not have it, or has it switched off".into()),
    }
}

/// The rules as the kernel takes them; what it does not know yet is left out (best effort), what is not there needs no rule.
fn landlock_rules(rules: &Confinement) -> Result<RulesetCreated, landlock::RulesetError> {
    let (all, read) = (AccessFs::from_all(ABI::V5), AccessFs::from_read(ABI::V5) & !AccessFs::Execute);
    let mut ruleset = Ruleset::default().handle_access(all)?.handle_access(AccessNet::from_all(ABI::V5))?.create()?;
    let write = all & !(AccessFs::Execute | AccessFs::IoctlDev | AccessFs::MakeChar | AccessFs::MakeBlock);
    let of_resolver = RESOLVER_PATHS.iter().map(Path::new).chain(rules.read.iter().map(PathBuf::as_path)).map(|path| (path, read));
    for (path, access) in of_resolver.chain(rules.write.iter().map(|path| (path.as_path(), write))) {
        // A file has no entries: rights about them would be refused.
        let access = if path.is_dir() { access } else { access & AccessFs::from_file(ABI::V5) };
        if let Ok(path) = PathFd::new(path) {
            ruleset = ruleset.add_rule(PathBeneath::new(path, access))?;
        }
    }
    for port in rules.connect.iter().chain(&[DOMAIN_PORT]) {
        ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
    }
    Ok(ruleset)
}

/// System calls of a thread that reads and writes files and sockets, waits, and starts threads. Everything else fails with EPERM.
#[rustfmt::skip]
fn allowed_calls() -> Vec<i64> {
    let mut calls = vec![
        // Memory, threads, time, signals.
        libc::SYS_brk, libc::SYS_mmap, libc::SYS_munmap, libc::SYS_mprotect, libc::SYS_mremap, libc::SYS_madvise, libc::SYS_mlock,
        libc::SYS_futex, libc::SYS_set_robust_list, libc::SYS_get_robust_list, libc::SYS_rseq, libc::SYS_set_tid_address,
        libc::SYS_sched_yield, libc::SYS_sched_getaffinity, libc::SYS_gettid, libc::SYS_getpid, libc::SYS_tgkill, libc::SYS_prctl,
        libc::SYS_exit, libc::SYS_exit_group, libc::SYS_restart_syscall, libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn, libc::SYS_sigaltstack, libc::SYS_clock_gettime, libc::SYS_clock_getres, libc::SYS_clock_nanosleep,
        libc::SYS_nanosleep, libc::SYS_gettimeofday, libc::SYS_getrandom, libc::SYS_uname, libc::SYS_sysinfo, libc::SYS_getuid,
        libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getegid, libc::SYS_membarrier, libc::SYS_prlimit64,
        // Files.
        libc::SYS_openat, libc::SYS_close, libc::SYS_read, libc::SYS_write, libc::SYS_readv, libc::SYS_writev, libc::SYS_pread64,
        libc::SYS_pwrite64, libc::SYS_lseek, libc::SYS_fstat, libc::SYS_statx, libc::SYS_newfstatat, libc::SYS_statfs, libc::SYS_fstatfs,
        libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_ftruncate, libc::SYS_fallocate, libc::SYS_flock, libc::SYS_fcntl,
        libc::SYS_getdents64, libc::SYS_mkdirat, libc::SYS_unlinkat, libc::SYS_renameat2, libc::SYS_faccessat, libc::SYS_faccessat2,
        libc::SYS_readlinkat, libc::SYS_getcwd, libc::SYS_dup, libc::SYS_dup3, libc::SYS_ioctl,
        // Sockets; `socket` and `clone` have rules of their own.
        libc::SYS_connect, libc::SYS_bind, libc::SYS_getsockname, libc::SYS_getpeername, libc::SYS_getsockopt, libc::SYS_setsockopt,
        libc::SYS_sendto, libc::SYS_recvfrom, libc::SYS_sendmsg, libc::SYS_recvmsg, libc::SYS_sendmmsg, libc::SYS_recvmmsg,
        libc::SYS_shutdown, libc::SYS_socketpair, libc::SYS_ppoll, libc::SYS_pselect6, libc::SYS_pipe2, libc::SYS_eventfd2,
        // Answered with ENOSYS by the other filter, so that glibc takes `clone`, whose flags a filter can see.
        libc::SYS_clone3,
    ];
    // Calls that later architectures do not have any more.
    #[cfg(target_arch = "x86_64")]
    calls.extend([
        libc::SYS_open, libc::SYS_stat, libc::SYS_lstat, libc::SYS_access, libc::SYS_poll, libc::SYS_select, libc::SYS_rename,
        libc::SYS_unlink, libc::SYS_mkdir, libc::SYS_rmdir, libc::SYS_readlink, libc::SYS_arch_prctl, libc::SYS_time, libc::SYS_dup2,
        libc::SYS_pipe, libc::SYS_getdents,
    ]);
    #[cfg(target_arch = "aarch64")]
    calls.push(libc::SYS_renameat);
    calls
}

fn restrict_calls() -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let architecture = TargetArch::try_from(std::env::consts::ARCH).map_err(|error| text(&error))?;
    let condition = |argument, operator, value| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value).and_then(|condition| SeccompRule::new(vec![condition]))
    };
    let families = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK].map(|family| family as u64);
    let sockets: Result<Vec<_>, _> = families.into_iter().map(|family| condition(0, SeccompCmpOp::Eq, family)).collect();
    let thread = libc::CLONE_THREAD as u64;
    let threads = condition(0, SeccompCmpOp::MaskedEq(thread), thread).map_err(|error| text(&error))?;
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = allowed_calls().into_iter().map(|call| (call, vec![])).collect();
    rules.insert(libc::SYS_socket, sockets.map_err(|error| text(&error))?);
    rules.insert(libc::SYS_clone, vec![threads]);
    let refuse = |errno: i32| SeccompAction::Errno(errno as u32);
    let no_clone3 = BTreeMap::from([(libc::SYS_clone3, vec![])]);
    let filters = [
        (no_clone3, SeccompAction::Allow, refuse(libc::ENOSYS)),
        // The last one: it refuses to install another.
        (rules, refuse(libc::EPERM), SeccompAction::Allow),
    ];
    for (rules, otherwise, when_listed) in filters {
        let filter = SeccompFilter::new(rules, otherwise, when_listed, architecture).map_err(|error| text(&error))?;
        let program: seccompiler::BpfProgram = filter.try_into().map_err(|error: seccompiler::BackendError| text(&error))?;
        apply_filter(&program).map_err(|error| text(&error))?;
    }
    Ok(())
}
