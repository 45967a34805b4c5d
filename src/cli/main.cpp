// tenon: the command line. One file a verb.
#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "cli/common.hpp"
#include "cli/typos.hpp"
#include "tenon/version.hpp"

namespace {

using namespace tenon;

/// Errors go to standard error as a sentence; with --json to standard output as an object.
int report(bool json, int code, const std::string& kind, const std::string& message) {
  if (json) {
    nlohmann::ordered_json j = {{"error", {{"code", kind}, {"exit_code", code}, {"message", message}}}};
    fmt::print("{}\n", j.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
  } else {
    fmt::print(stderr, "tenon: {}\n", message);
  }
  return code;
}

int run_verb(CLI::App& app, int argc, char** argv, bool json) {
  try {
    if (std::string problem = cli::find_typo(app, argc, argv); !problem.empty()) {
      return report(json, cli::kUsage, "usage", problem);
    }
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);
    CLI::App* verb = app.get_subcommands().empty() ? &app : app.get_subcommands().front();
    std::string help = verb == &app ? "tenon --help" : "tenon " + verb->get_name() + " --help";
    std::string what = e.what();
    if (what.starts_with("--onnx is required")) what = "model is required";  // its other name
    return report(json, cli::kUsage, "usage", fmt::format("{} ({} says more)", what, help));
  } catch (const Error& e) {
    return report(json, cli::exit_code(e), name(e.code()), e.what());
  } catch (const cli::NotVerified&) {
    return cli::kNotVerified;
  } catch (const std::bad_alloc&) {
    return report(json, cli::kNoResource, "unavailable", "out of memory");
  } catch (const std::exception& e) {
    return report(json, cli::kInternalError, "internal", fmt::format("internal error: {}", e.what()));
  }
  return cli::kDone;
}

}  // namespace

int main(int argc, char** argv) {
  cli::install_interrupt_handler();
  CLI::App app("Tenon: an ONNX file goes in, an optimised engine comes out.", "tenon");
  app.set_version_flag("--version", std::string("tenon ") + kVersion);
  app.require_subcommand(1);
  app.failure_message(CLI::FailureMessage::simple);
  app.footer(
      "Exit codes: 0 done, 1 internal, 2 usage, 3 bad input, 4 unsupported, 5 device, resource or interrupted, 6 not "
      "verified.\n"
      "Begin with: tenon inspect model.onnx; tenon bench model.onnx; tenon run model.onnx --inputs in.npz; tenon "
      "detect "
      "yolov8n.onnx street.jpg\n"
      "Each verb has --help with examples; tenon completion bash|zsh|fish teaches your shell.");
  cli::add_inspect(app);
  cli::add_build(app);
  cli::add_run(app);
  cli::add_bench(app);
  cli::add_compare(app);
  cli::add_optimize(app);
  cli::add_detect(app);
  cli::add_read(app);
  cli::add_completion(app);
  bool json = std::any_of(argv, argv + argc, [](const char* a) { return std::string_view(a) == "--json"; });
  int code = run_verb(app, argc, argv, json);
  // A full disk shows when the last of the output is written.
  bool written = std::fflush(stdout) == 0 && !std::ferror(stdout);
  if (!written && code == cli::kDone) {
    fmt::print(stderr, "tenon: the output could not be written in full\n");
    return cli::kNoResource;
  }
  return code;
}
