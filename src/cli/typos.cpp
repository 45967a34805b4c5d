#include "cli/typos.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "cli/common.hpp"

namespace tenon::cli {
namespace {

struct Absent {
  std::string_view flag, why;
};
// Flags that trtexec's users have in their scripts.
constexpr Absent kAbsent[] = {
    {"--useCudaGraph", "it is about CUDA; leave it out on device cpu"},
    {"--noDataTransfers", "nothing is transferred on device cpu; leave it out"},
    {"--useSpinWait", "it is about waiting for a GPU; leave it out on device cpu"},
    {"--useManagedMemory", "it is about GPU memory; leave it out on device cpu"},
    {"--separateProfileRun", "steps are always timed in runs of their own; leave it out"},
    {"--noTF32", "there is no TF32 on device cpu; leave it out"},
    {"--streams", "one run at a time is measured; leave it out"},
    {"--infStreams", "one run at a time is measured; leave it out"},
    {"--workspace", "the arena is as large as the model needs; leave it out"},
    {"--memPoolSize", "the arena is as large as the model needs; leave it out"},
    {"--explicitBatch", "ONNX models always have explicit batches; leave it out"},
    {"--loadInputs", "write --inputs NAME=FILE"},
    {"--calib", "models are quantised before they come here; Q/DQ models run in 8 bits"},
    {"--exportOutput", "write tenon run MODEL --outputs FILE.npz"},
    {"--dumpOutput", "write tenon run MODEL"},
    {"--dumpLayerInfo", "write tenon inspect PLAN --text"},
    {"--exportLayerInfo", "write tenon inspect PLAN --json"},
    {"--profilingVerbosity", "step names are always kept; leave it out"},
    {"--verbose", "write tenon build --explain all to see how tactics were chosen"},
    {"--sparsity", "sparse weights are not used; leave it out"},
    {"--buildOnly", "write tenon build"},
};

std::string quoted_guess(const std::string& word, const std::vector<std::string>& known) {
  std::string near = nearest(word, known);
  return near.empty() ? "" : fmt::format("; did you mean '{}'?", near);
}

std::string wrong_option(const CLI::App& verb, const std::string& option) {
  for (const Absent& a : kAbsent) {
    if (a.flag == option) return fmt::format("{} is not an option of tenon {}: {}", option, verb.get_name(), a.why);
  }
  std::vector<std::string> known;
  for (const CLI::Option* o : verb.get_options()) {
    for (const std::string& name : o->get_lnames()) known.push_back("--" + name);
    for (const std::string& name : o->get_snames()) known.push_back("-" + name);
  }
  return fmt::format("{} is not an option of tenon {}{} (tenon {} --help lists them)", option, verb.get_name(),
                     quoted_guess(option, known), verb.get_name());
}

bool is_option(const std::string& text) {
  return text.size() > 2 && text.starts_with("--") && std::isalpha(static_cast<unsigned char>(text[2]));
}

}  // namespace

std::string find_typo(const CLI::App& app, int argc, const char* const* argv) {
  if (argc < 2 || argv[1][0] == '-') return "";
  std::vector<std::string> verbs;
  const CLI::App* verb = nullptr;
  for (const CLI::App* sub : app.get_subcommands(nullptr)) {
    verbs.push_back(sub->get_name());
    if (sub->get_name() == argv[1]) verb = sub;
  }
  if (verb == nullptr) {
    std::string all;
    for (const std::string& name : verbs) all += (all.empty() ? "" : ", ") + name;
    return fmt::format("there is no verb '{}'{} (the verbs are {})", argv[1], quoted_guess(argv[1], verbs), all);
  }
  for (int i = 2; i < argc; ++i) {
    std::string text = argv[i];
    if (text == "--") break;
    if (!is_option(text)) continue;
    text = text.substr(0, text.find('='));
    if (verb->get_option_no_throw(text) == nullptr) return wrong_option(*verb, text);
  }
  return "";
}

}  // namespace tenon::cli
