"""The names of `feedrace.plugin` by purpose, each with the module it comes from."""

# Declarations
from feedrace.registry.component import Component as Component, hookimpl as hookimpl
from feedrace.registry.kinds import KINDS as KINDS
from feedrace.registry.records import Health as Health

# Configs
from feedrace.config.fields import (
    IDENTITY as IDENTITY,
    MAX_SEED as MAX_SEED,
    MAX_SIZE as MAX_SIZE,
    OWN as OWN,
    REQUIRED as REQUIRED,
    Rule as Rule,
    SamplerConfig as SamplerConfig,
    StructuralConfig as StructuralConfig,
    as_tuple as as_tuple,
    boolean as boolean,
    check_integer as check_integer,
    component_field as component_field,
    epochs as epochs,
    integer as integer,
    number as number,
    one_of as one_of,
    path_field as path_field,
    text as text,
)

from feedrace.config.stored import FileConfig as FileConfig, StoredConfig as StoredConfig

# Base classes
from feedrace.builtin.memory import ArraySource as ArraySource
from feedrace.modules.batcher import BatcherModule as BatcherModule
from feedrace.modules.cache import IdentityDict as IdentityDict
from feedrace.modules.file_source import (
    FileSource as FileSource,
    StoredSource as StoredSource,
    storage_of as storage_of,
)
from feedrace.modules.module import Module as Module, StructuralModule as StructuralModule
from feedrace.modules.sampler import (
    OrderedSamplerModule as OrderedSamplerModule,
    SamplerModule as SamplerModule,
)
from feedrace.modules.source import SourceModule as SourceModule
from feedrace.registry.reprs import Configured as Configured

# Errors
from feedrace.errors import (
    ComponentError as ComponentError,
    ConfigError as ConfigError,
    DataError as DataError,
    DataWarning as DataWarning,
    FeedraceError as FeedraceError,
    NotInstalledError as NotInstalledError,
    PluginWarning as PluginWarning,
    Problem as Problem,
    RecordError as RecordError,
    StateError as StateError,
    StorageError as StorageError,
    WorkerWarning as WorkerWarning,
    clipped as clipped,
    did_you_mean as did_you_mean,
    install_line as install_line,
    pip_line as pip_line,
)

# Identity in saved states
from feedrace.registry.describing import code_digest as code_digest

# Orders and steps
from feedrace.plan.order import Order as Order
from feedrace.plan.orders import Orders as Orders
from feedrace.plan.steps import (
    TRAIN as TRAIN,
    Step as Step,
    StreamPlan as StreamPlan,
    plan_stream as plan_stream,
)
from feedrace.plan.windows import WindowPlan as WindowPlan

# Records and batches on the host
from feedrace.host.columns import column as column
from feedrace.host.prefetch import Prefetched as Prefetched
from feedrace.host.records import (
    VALID_MASK as VALID_MASK,
    aligned as aligned,
    arriving_dtype as arriving_dtype,
    canonical as canonical,
    check_batch_size as check_batch_size,
    check_no_mask as check_no_mask,
    check_numbers as check_numbers,
    count_records as count_records,
    is_host_dtype as is_host_dtype,
    is_ragged as is_ragged,
    leaves as leaves,
    map_leaves as map_leaves,
    pad_batch as pad_batch,
    split_records as split_records,
)
from feedrace.host.stages import LeafSpec as LeafSpec
from feedrace.host.machine import usable_cpus as usable_cpus, usable_memory as usable_memory
from feedrace.host.progress import bars_are_shown as bars_are_shown, progress as progress

# Where files lie, and the records in them
from feedrace.storage.ahead import ahead as ahead
from feedrace.storage.array_record import (
    ArrayRecords as ArrayRecords,
    scan_array_record as scan_array_record,
)
from feedrace.storage.bad_records import BadRecord as BadRecord
from feedrace.storage.compressed import compression_of as compression_of
from feedrace.storage.example_proto import example_class as example_class
from feedrace.storage.files import (
    File as File,
    OpenFile as OpenFile,
    Storage as Storage,
)
from feedrace.storage.layout import (
    Arrays as Arrays,
    Layout as Layout,
    Leaf as Leaf,
    chosen as chosen,
    set_at as set_at,
)
from feedrace.storage.lines import scan_lines as scan_lines
from feedrace.storage.paths import check_walk as check_walk, is_remote as is_remote
from feedrace.storage.ranges import (
    Numbered as Numbered,
    Ranges as Ranges,
    Raw as Raw,
    Tables as Tables,
    Unreadable as Unreadable,
    too_few as too_few,
)
from feedrace.storage.tables import Table as Table, TableCache as TableCache
from feedrace.storage.tfrecord import (
    check_tfrecord as check_tfrecord,
    scan_tfrecord as scan_tfrecord,
)
from feedrace.storage.tolerant import (
    Content as Content,
    Decoder as Decoder,
    Failure as Failure,
    RawContent as RawContent,
    TolerantReader as TolerantReader,
)

# Jobs over all records
from feedrace.host.jobs import Made as Made, Records as Records, write_whole as write_whole
from feedrace.pipeline.jobs import (
    AllRecords as AllRecords,
    all_records as all_records,
    load_records as load_records,
)
from feedrace.pipeline.kept import (
    JobRun as JobRun,
    bounds_of_parts as bounds_of_parts,
    check_picklable as check_picklable,
    jobs_run as jobs_run,
    kept_results as kept_results,
    records_digest as records_digest,
    run_as_chosen as run_as_chosen,
    sample_numbers as sample_numbers,
)
from feedrace.host.statistics import FieldStatistics as FieldStatistics, Lengths as Lengths
from feedrace.pipeline.statistics import RecordStatistics as RecordStatistics

# What arrives on a device
from feedrace.device.placement import to_device as to_device
from feedrace.device.specs import (
    arrive as arrive,
    batch_spec as batch_spec,
    is_wide as is_wide,
    spec_of as spec_of,
)

# Commands
from feedrace.cli.output import (
    report_errors as report_errors,
    job_options as job_options,
    json_option as json_option,
    print_findings as print_findings,
    print_json as print_json,
)
from feedrace.config.files import read_mapping as read_mapping, write_text as write_text

# For tools that test, inspect or write plugins, as feedrace-testing does
from feedrace import protocols as protocols, registry as registry
from feedrace.registry import catalog as catalog, schema as schema
