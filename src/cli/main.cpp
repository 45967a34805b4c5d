// tenon: the command line. One file a verb.
#include <fmt/core.h>

#include "base/error.hpp"
#include "cli/common.hpp"
#include "tenon/version.hpp"

namespace {

int report(const tenon::Error& e) {
  fmt::print(stderr, "tenon: {}\n", e.what());
  return tenon::cli::exit_code(e);
}

}  // namespace

int main(int argc, char** argv) {
  using namespace tenon;
  cli::install_interrupt_handler();
  CLI::App app("Tenon: an ONNX file goes in, an optimised engine comes out.", "tenon");
  app.set_version_flag("--version", std::string("tenon ") + kVersion);
  app.require_subcommand(1);
  app.failure_message(CLI::FailureMessage::simple);
  app.footer(
      "Exit codes: 0 done, 1 internal, 2 usage, 3 bad input, 4 unsupported, 5 device or resource, 6 not verified.\n"
      "Begin with: tenon inspect model.onnx; tenon bench model.onnx; tenon run model.onnx --inputs in.npz");
  cli::add_inspect(app);
  cli::add_build(app);
  cli::add_run(app);
  cli::add_bench(app);
  cli::add_compare(app);
  cli::add_detect(app);
  cli::add_optimize(app);
  cli::add_read(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    int code = app.exit(e);
    return code == 0 ? cli::kDone : cli::kUsage;
  } catch (const Error& e) {
    return report(e);
  } catch (const cli::NotVerified&) {
    return cli::kNotVerified;
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "tenon: out of memory\n");
    return cli::kNoResource;
  } catch (const std::exception& e) {
    fmt::print(stderr, "tenon: internal error: {}\n", e.what());
    return cli::kInternalError;
  }
  return cli::kDone;
}
