// tenon completion: scripts that complete verbs, options and files in a shell.
#include <fmt/core.h>

#include "base/error.hpp"
#include "cli/common.hpp"
#include "vision/detect.hpp"

namespace tenon::cli {
namespace {

std::vector<std::string> options_of(const CLI::App& app) {
  std::vector<std::string> out;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) out.push_back("--" + name);
    for (const std::string& name : option->get_snames()) out.push_back("-" + name);
  }
  return out;
}

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& w : words) out += (out.empty() ? "" : " ") + w;
  return out;
}

std::string families() {
  std::string out;
  for (char c : vision::family_names()) {
    if (c != ',') out += c;
  }
  return out;
}

std::string bash_script(const CLI::App& app) {
  std::vector<std::string> verbs;
  std::string cases;
  for (const CLI::App* sub : app.get_subcommands(nullptr)) {
    verbs.push_back(sub->get_name());
    cases += fmt::format("    {}) words='{}' ;;\n", sub->get_name(), joined(options_of(*sub)));
  }
  std::string out = "_tenon() {\n  local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} words=\n";
  out += fmt::format(
      "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n    COMPREPLY=($(compgen -W '{} --help --version' -- \"$current\"))\n",
      joined(verbs));
  out += "    return\n  fi\n  case $before in\n";
  out += fmt::format("    --disable-pass|--stop-after) COMPREPLY=($(compgen -W '{}' -- \"$current\")); return ;;\n",
                     joined(pass_names()));
  out += fmt::format("    --family) COMPREPLY=($(compgen -W '{}' -- \"$current\")); return ;;\n", families());
  out += "  esac\n  case ${COMP_WORDS[1]} in\n" + cases + "  esac\n";
  out += "  case $current in\n    -*) COMPREPLY=($(compgen -W \"$words\" -- \"$current\")) ;;\n";
  out += "    *) COMPREPLY=($(compgen -f -- \"$current\")) ;;\n  esac\n}\ncomplete -o filenames -F _tenon tenon\n";
  return out;
}

std::string escaped(const std::string& text) {
  std::string out;
  for (char c : text) {
    if (c == '\'') {
      out += "'\\''";
    } else if (c == '\n') {
      out += ' ';
    } else {
      out += c;
    }
  }
  return out;
}

std::string zsh_script(const CLI::App& app) {
  std::string verbs, cases;
  for (const CLI::App* sub : app.get_subcommands(nullptr)) {
    verbs += fmt::format("    '{}:{}'\n", sub->get_name(), escaped(sub->get_description()));
    cases += fmt::format("    {}) words_of=({}) ;;\n", sub->get_name(), joined(options_of(*sub)));
  }
  std::string out = "#compdef tenon\n_tenon() {\n  local -a verbs words_of\n  verbs=(\n" + verbs + "  )\n";
  out += "  if (( CURRENT == 2 )); then\n    _describe verb verbs\n    return\n  fi\n";
  out += fmt::format("  case $words[CURRENT-1] in\n    --disable-pass|--stop-after) compadd {}; return ;;\n",
                     joined(pass_names()));
  out += fmt::format("    --family) compadd {}; return ;;\n  esac\n  case $words[2] in\n{}  esac\n", families(), cases);
  out += "  if [[ $PREFIX == -* ]]; then\n    compadd -- $words_of\n  else\n    _files\n  fi\n}\n";
  return out + "compdef _tenon tenon\n";
}

std::string fish_script(const CLI::App& app) {
  std::string out;
  for (const CLI::App* sub : app.get_subcommands(nullptr)) {
    out += fmt::format("complete -c tenon -n __fish_use_subcommand -a {} -d '{}'\n", sub->get_name(),
                       escaped(sub->get_description()));
    for (const CLI::Option* option : sub->get_options()) {
      std::string names;
      for (const std::string& name : option->get_lnames()) names += " -l " + name;
      for (const std::string& name : option->get_snames()) names += " -s " + name;
      if (names.empty()) continue;
      out += fmt::format("complete -c tenon -n '__fish_seen_subcommand_from {}'{}{} -d '{}'\n", sub->get_name(), names,
                         option->get_expected_max() > 0 ? " -r" : "", escaped(option->get_description()));
    }
  }
  return out;
}

}  // namespace

void add_completion(CLI::App& app) {
  auto shell = std::make_shared<std::string>();
  CLI::App* sub =
      app.add_subcommand("completion", "Print a script that completes tenon's verbs and options in a shell");
  sub->add_option("shell", *shell, "bash, zsh or fish")->required()->check(CLI::IsMember({"bash", "zsh", "fish"}));
  sub->footer(
      "Examples:\n"
      "  source <(tenon completion bash)\n"
      "  tenon completion zsh > ~/.zfunc/_tenon\n"
      "  tenon completion fish > ~/.config/fish/completions/tenon.fish");
  sub->callback([shell, &app] {
    fmt::print("{}", *shell == "bash" ? bash_script(app) : *shell == "zsh" ? zsh_script(app) : fish_script(app));
  });
}

}  // namespace tenon::cli
