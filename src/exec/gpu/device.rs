//! The device: which adapter, which capability tier and why, which limits; and what became of it.

use super::pipelines::Cache;
use super::planner::Planner;
use super::self_check::first_wrong;
use super::tier::Tier;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// What can go wrong with a graphics device.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// No adapter of any kind, or none of the name asked for.
    #[error("no graphics adapter{}; found: {found}", .wanted.as_ref().map(|name| format!(" whose name contains {name:?}")).unwrap_or_default())]
    NoAdapter {
        /// The name asked for.
        wanted: Option<String>,
        /// The adapters that are there.
        found: String,
    },
    /// The adapter exists but gave no device.
    #[error("adapter {adapter} gave no device: {reason}")]
    Refused {
        /// The adapter's name.
        adapter: String,
        /// The driver's words.
        reason: String,
    },
    /// A tier that there is not, or that the adapter does not have.
    #[error("{adapter} has no tier {wanted:?}; it has {offered}")]
    NoTier {
        /// What was asked for.
        wanted: String,
        /// The adapter's name.
        adapter: String,
        /// What it has.
        offered: String,
    },
    /// A tensor does not fit a binding.
    #[error(
        "tensor `{tensor}` needs {bytes} bytes, and {adapter} binds at most {limit}; use a smaller batch or image, or another adapter"
    )]
    TooLarge {
        /// The tensor.
        tensor: String,
        /// Its size.
        bytes: u64,
        /// The adapter's limit.
        limit: u64,
        /// The adapter's name.
        adapter: String,
    },
    /// A dispatch has more workgroups than the adapter allows.
    #[error("{shader} needs {groups:?} workgroups, and {adapter} allows {limit} in each direction")]
    TooManyWorkgroups {
        /// The shader.
        shader: String,
        /// What it needs.
        groups: [u32; 3],
        /// The adapter's limit.
        limit: u32,
        /// The adapter's name.
        adapter: String,
    },
    /// Memory ran out.
    #[error("{adapter} ran out of memory: {reason}; use a smaller batch, or `--backend cpu`")]
    OutOfMemory {
        /// The adapter's name.
        adapter: String,
        /// The driver's words.
        reason: String,
    },
    /// The device went away: unplugged, reset by a watchdog, driver updated.
    #[error("{adapter} was lost: {reason}; run again, or use `--backend cpu`")]
    Lost {
        /// The adapter's name.
        adapter: String,
        /// The driver's words.
        reason: String,
    },
    /// The driver refused something that this package asked for: a mistake in it, or in the driver.
    #[error("{adapter} refused a command: {reason}")]
    Invalid {
        /// The adapter's name.
        adapter: String,
        /// The driver's words.
        reason: String,
    },
}

/// Which adapter to take, and under which limits.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Part of the adapter's name, in any case; `None` takes the fastest kind.
    pub name: Option<String>,
    /// Ask for no more than WebGPU's default limits, as tests of the portable tier do.
    pub default_limits: bool,
    /// What kernels are computed with.
    pub tier: Wanted,
    /// The file of how products are best cut, as [`tune`](super::tune) has measured it; without one a rule says.
    pub tuned: Option<PathBuf>,
}

/// Which tier to take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// The best that computes what the CPU executor computes; the portable one where a device computes in software, or is to be held
    /// to WebGPU's default limits.
    #[default]
    Automatic,
    /// The best on every device.
    Best,
    /// The one of this name.
    Exactly(String),
}

impl Wanted {
    /// As `MIGM_TIER` says it: nothing, `best`, or a tier's name.
    fn parse(text: &str) -> Self {
        match text {
            "" => Self::Automatic,
            "best" => Self::Best,
            name => Self::Exactly(name.to_owned()),
        }
    }
}

impl Choice {
    /// From `MIGM_ADAPTER` (part of a name), `MIGM_DEFAULT_LIMITS` (any value), `MIGM_TIER` (`portable`, `subgroup`,
    /// `f16`, `matrix` or `best`) and `MIGM_TUNED` (a file, in place of the one among the user's caches).
    pub fn from_environment() -> Self {
        Self {
            name: std::env::var("MIGM_ADAPTER").ok().filter(|name| !name.is_empty()),
            default_limits: std::env::var_os("MIGM_DEFAULT_LIMITS").is_some(),
            tier: Wanted::parse(&std::env::var("MIGM_TIER").unwrap_or_default()),
            tuned: tuned_file(),
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn tuned_file() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    super::tune::file(&variable, std::env::home_dir())
}

#[cfg(target_arch = "wasm32")]
fn tuned_file() -> Option<PathBuf> {
    None
}

/// How products are cut on a device, and in a few words why.
#[cfg(not(target_arch = "wasm32"))]
fn plan(tier: Tier, info: &wgpu::AdapterInfo, tuned: Option<&PathBuf>) -> (Planner, String) {
    use super::tune::{Record, Records};
    let planner = Planner::new(tier, info.device_type);
    let by_rule = "products cut by rule".to_owned();
    let Some(path) = tuned else { return (planner, by_rule) };
    match Records::read(path) {
        Ok(records) => match records.find(&Record::of(info, tier)).map(Record::cuts) {
            Some(cuts) if !cuts.is_empty() => {
                let reason = format!("products cut by rule, {} shapes as measured", cuts.len());
                (planner.with_measured(cuts), reason)
            }
            _ => (planner, by_rule),
        },
        Err(error) => (planner, format!("{by_rule}, as {} cannot be read ({error})", path.display())),
    }
}

#[cfg(target_arch = "wasm32")]
fn plan(tier: Tier, info: &wgpu::AdapterInfo, _: Option<&PathBuf>) -> (Planner, String) {
    (Planner::new(tier, info.device_type), "products cut by rule".to_owned())
}

/// An open device with what is known of it.
#[derive(Clone, Debug)]
pub struct Gpu {
    /// Where the adapter was found. A window on the same device needs both.
    pub instance: wgpu::Instance,
    /// The adapter.
    pub adapter: wgpu::Adapter,
    /// The device.
    pub device: wgpu::Device,
    /// Its queue.
    pub queue: wgpu::Queue,
    /// The adapter's name, driver and kind.
    pub info: wgpu::AdapterInfo,
    /// Whether steps can be timed on the device.
    pub timestamps: bool,
    /// What kernels are computed with.
    pub tier: Tier,
    /// Why that tier.
    pub tier_reason: String,
    /// How products are cut into workgroups.
    pub planner: Planner,
    /// Why so.
    pub plan_reason: String,
    /// What was compiled for it.
    pub(super) pipelines: Arc<Cache>,
    failure: Arc<Mutex<Option<Failure>>>,
}

/// What a callback of the driver reported, until somebody asks.
#[derive(Clone, Debug)]
enum Failure {
    OutOfMemory(String),
    Lost(String),
    Invalid(String),
}

/// What adapters are found with.
pub fn instance() -> wgpu::Instance {
    wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env())
}

/// Every adapter of the system, the fastest kind first.
pub async fn adapters(instance: &wgpu::Instance) -> Vec<wgpu::Adapter> {
    let mut adapters = instance.enumerate_adapters(wgpu::Backends::all()).await;
    adapters.sort_by_key(|adapter| match adapter.get_info().device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    });
    adapters
}

/// The adapter that a choice names.
///
/// # Errors
/// There is none, or none of that name.
pub async fn choose(instance: &wgpu::Instance, choice: &Choice) -> Result<wgpu::Adapter, DeviceError> {
    let adapters = adapters(instance).await;
    let fits = |adapter: &wgpu::Adapter| {
        choice
            .name
            .as_ref()
            .is_none_or(|name| adapter.get_info().name.to_lowercase().contains(&name.to_lowercase()))
    };
    match adapters.iter().find(|adapter| fits(adapter)) {
        Some(adapter) => Ok(adapter.clone()),
        None => {
            let names: Vec<String> = adapters.iter().map(|adapter| adapter.get_info().name).collect();
            let found = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            Err(DeviceError::NoAdapter { wanted: choice.name.clone(), found })
        }
    }
}

/// The tier of that name, if the adapter has it.
fn tier_of(offered: &[Tier], name: &str, called: &str) -> Result<Tier, DeviceError> {
    let found = offered.iter().find(|tier| tier.to_string() == name).copied();
    found.ok_or_else(|| DeviceError::NoTier {
        wanted: name.to_owned(),
        adapter: called.to_owned(),
        offered: offered.iter().map(Tier::to_string).collect::<Vec<_>>().join(", "),
    })
}

/// The tiers above the portable one to try, the best first, and why they or none are.
fn candidates(offered: &[Tier], choice: &Choice, is_software: bool) -> (Vec<Tier>, &'static str) {
    let above: Vec<Tier> = offered.iter().rev().copied().filter(|tier| *tier != Tier::Portable).collect();
    match choice.tier {
        _ if above.is_empty() => (above, "the adapter has no other"),
        Wanted::Best => (above, "the best that it has"),
        _ if choice.default_limits => (Vec::new(), "held to WebGPU's default limits"),
        _ if is_software => (Vec::new(), "others are no faster in software"),
        _ => (above, "the best that it has"),
    }
}

/// Without this token a device with matrices is refused.
fn experimental(tier: Tier) -> wgpu::ExperimentalFeatures {
    match tier {
        Tier::Portable | Tier::Subgroup | Tier::F16 => wgpu::ExperimentalFeatures::disabled(),
        // SAFETY: wgpu asks for this because what such features do to wrong programs is not bounded yet. Ours are fixed, read and
        // written within their buffers by construction, and compared with twins on every tier.
        Tier::Matrix { .. } => unsafe { wgpu::ExperimentalFeatures::enabled() },
    }
}

impl Gpu {
    /// Opens the chosen adapter.
    ///
    /// # Errors
    /// There is no such adapter, or it gives no device.
    pub async fn open(choice: &Choice) -> Result<Self, DeviceError> {
        let instance = instance();
        let adapter = choose(&instance, choice).await?;
        Self::from_adapter(instance, adapter, choice).await
    }

    /// Opens an adapter, under the limits and for the tier of a choice. Unless a tier is named, one that fails its self-check is passed over.
    ///
    /// # Errors
    /// It does not have the tier that is named, or gives no device.
    pub async fn from_adapter(
        instance: wgpu::Instance,
        adapter: wgpu::Adapter,
        choice: &Choice,
    ) -> Result<Self, DeviceError> {
        let offered = Tier::offered(&adapter);
        if let Wanted::Exactly(name) = &choice.tier {
            let tier = tier_of(&offered, name, &adapter.get_info().name)?;
            let mut gpu = Self::with_tier(instance, adapter, choice, tier).await?;
            gpu.tier_reason = format!("{tier} tier: asked for");
            return Ok(gpu);
        }
        let is_software = adapter.get_info().device_type == wgpu::DeviceType::Cpu;
        let (tiers, reason) = candidates(&offered, choice, is_software);
        let mut passed_over = String::new();
        for tier in tiers {
            match Self::checked(instance.clone(), adapter.clone(), choice, tier).await {
                Ok(gpu) => {
                    return Ok(Self { tier_reason: format!("{tier} tier: {reason}{passed_over}"), ..gpu });
                }
                Err(why) => passed_over.push_str(&format!("; not {tier}: {why}")),
            }
        }
        let gpu = Self::with_tier(instance, adapter, choice, Tier::Portable).await?;
        Ok(Self { tier_reason: format!("{} tier: {reason}{passed_over}", gpu.tier), ..gpu })
    }

    /// Opens an adapter for a tier, if its kernels compute there what they should.
    async fn checked(
        instance: wgpu::Instance,
        adapter: wgpu::Adapter,
        choice: &Choice,
        tier: Tier,
    ) -> Result<Self, String> {
        let gpu =
            Self::with_tier(instance, adapter, choice, tier).await.map_err(|error| error.to_string())?;
        match first_wrong(&gpu).await {
            Ok(None) => Ok(gpu),
            Ok(Some(kernel)) => Err(format!("{kernel} is not what the CPU computes")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Opens an adapter for a tier that it has.
    async fn with_tier(
        instance: wgpu::Instance,
        adapter: wgpu::Adapter,
        choice: &Choice,
        tier: Tier,
    ) -> Result<Self, DeviceError> {
        let mut info = adapter.get_info();
        if info.name.is_empty() {
            // Browsers do not say.
            info.name = "WebGPU adapter".to_owned();
        }
        let timestamps = adapter.features().contains(wgpu::Features::TIMESTAMP_QUERY);
        let clock = if timestamps { wgpu::Features::TIMESTAMP_QUERY } else { wgpu::Features::empty() };
        let limits = if choice.default_limits { wgpu::Limits::default() } else { adapter.limits() };
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("migm"),
            required_features: clock | tier.features(),
            required_limits: tier.limits(limits),
            experimental_features: experimental(tier),
            ..Default::default()
        };
        let (device, queue) = adapter.request_device(&descriptor).await.map_err(|error| {
            DeviceError::Refused { adapter: info.name.clone(), reason: error.to_string() }
        })?;
        let failure = Arc::new(Mutex::new(None));
        let report = Arc::clone(&failure);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            let found = match error {
                wgpu::Error::OutOfMemory { source } => Failure::OutOfMemory(source.to_string()),
                other => Failure::Invalid(other.to_string()),
            };
            // The first report is the cause; what follows are its consequences.
            report.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(found);
        }));
        let report = Arc::clone(&failure);
        device.set_device_lost_callback(move |reason, message| {
            // Overrides what was refused because of it. Nobody asks a device that was dropped in the ordinary way.
            let message = if message.is_empty() { format!("{reason:?}") } else { message };
            *report.lock().unwrap_or_else(PoisonError::into_inner) = Some(Failure::Lost(message));
        });
        let pipelines = Arc::new(Cache::default());
        let (planner, plan_reason) = plan(tier, &info, choice.tuned.as_ref());
        Ok(Self {
            instance,
            adapter,
            device,
            queue,
            info,
            timestamps,
            tier,
            tier_reason: String::new(),
            planner,
            plan_reason,
            pipelines,
            failure,
        })
    }

    /// Reports what went wrong since the last call, if anything.
    ///
    /// # Errors
    /// The device was lost, ran out of memory or refused a command.
    pub fn check(&self) -> Result<(), DeviceError> {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        let found = match &*failure {
            // A lost device stays lost.
            Some(lost @ Failure::Lost(_)) => Some(lost.clone()),
            _ => failure.take(),
        };
        let adapter = self.info.name.clone();
        match found {
            None => Ok(()),
            Some(Failure::OutOfMemory(reason)) => Err(DeviceError::OutOfMemory { adapter, reason }),
            Some(Failure::Lost(reason)) => Err(DeviceError::Lost { adapter, reason }),
            Some(Failure::Invalid(reason)) => Err(DeviceError::Invalid { adapter, reason }),
        }
    }

    /// Waits until everything submitted has run. On the browser it returns at once: nothing may block there.
    ///
    /// # Errors
    /// As [`Gpu::check`].
    pub fn wait(&self) -> Result<(), DeviceError> {
        if let Err(error) = self.device.poll(wgpu::PollType::wait_indefinitely()) {
            self.check()?;
            return Err(DeviceError::Lost { adapter: self.info.name.clone(), reason: error.to_string() });
        }
        self.check()
    }

    /// The most bytes that a buffer can have and be bound whole.
    pub fn largest_binding(&self) -> u64 {
        let limits = self.device.limits();
        limits.max_storage_buffer_binding_size.min(limits.max_buffer_size)
    }

    /// Tries to allocate so many bytes beside what is allocated now, and gives them back: no interface of a graphics
    /// system tells how much memory is free. On software adapters memory is allocated as it is touched, so that this says yes.
    ///
    /// # Errors
    /// The device failed otherwise than by having no memory.
    pub fn has_room(&self, bytes: u64) -> Result<bool, DeviceError> {
        let most = self.largest_binding().min(256 << 20);
        let mut held = Vec::new();
        let mut left = bytes;
        while left > 0 {
            let size = left.min(most).next_multiple_of(16);
            held.push(self.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("trial"),
                size,
                usage: wgpu::BufferUsages::STORAGE,
                mapped_at_creation: false,
            }));
            match self.check() {
                Ok(()) => left = left.saturating_sub(size),
                Err(DeviceError::OutOfMemory { .. }) => break,
                Err(error) => return Err(error),
            }
        }
        held.iter().for_each(wgpu::Buffer::destroy);
        drop(held);
        // What was destroyed is given back when the device is next waited for.
        self.wait()?;
        Ok(left == 0)
    }

    /// Whether the adapter computes on the CPU: then the CPU executor is the faster one.
    pub fn is_software(&self) -> bool {
        self.info.device_type == wgpu::DeviceType::Cpu
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tier_is_taken_by_itself_on_hardware_alone() {
        let matrix = Tier::Matrix { edge: 16, lanes: 32 };
        let offered = [Tier::Portable, Tier::Subgroup, Tier::F16, matrix];
        let all = vec![matrix, Tier::F16, Tier::Subgroup];
        let tried = |tier, default_limits, is_software| {
            candidates(&offered, &Choice { default_limits, tier, ..Choice::default() }, is_software).0
        };
        assert_eq!(tried(Wanted::Automatic, false, false), all);
        assert_eq!(tried(Wanted::Automatic, false, true), []);
        assert_eq!(tried(Wanted::Automatic, true, false), []);
        assert_eq!(tried(Wanted::Best, true, true), all);
        assert_eq!(candidates(&offered[..1], &Choice::default(), false).1, "the adapter has no other");
    }

    #[test]
    fn a_tier_that_an_adapter_lacks_is_an_error_that_names_those_it_has() {
        let error = tier_of(&[Tier::Portable, Tier::F16], "matrix", "a card").unwrap_err().to_string();
        assert_eq!(error, "a card has no tier \"matrix\"; it has portable, f16");
    }
}
