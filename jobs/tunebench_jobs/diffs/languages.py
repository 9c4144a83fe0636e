"""The extensions of the files that a language is written in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Extensions = Mapping[str, frozenset[str]]


def build_extensions(languages: Mapping[str, Iterable[str]]) -> Extensions:
    """Build a table in which a language is found whatever the case of its letters."""
    return {language.lower(): frozenset(each) for language, each in languages.items()}


# As PR-Agent knows them, so that files come in its order. It knows more languages, seldom seen:
# a prompt set with PR-Agent's own table (`language_extension_map_org`) uses that one.
_LANGUAGES = {
    "ABAP": ".abap",
    "AsciiDoc": ".asciidoc .adoc",
    "Assembly": ".asm .a51 .nasm",
    "Batchfile": ".bat .cmd",
    "C": ".c .cats .h .idc .w",
    "C#": ".cs .cake .cshtml .csx",
    "C++": ".cpp .c++ .cc .cp .cxx .h++ .hh .hpp .hxx .inl .ipp .tcc .tpp .C .H",
    "Clojure": ".clj .boot .cl2 .cljc .cljs .cljscm .cljx .hic",
    "CMake": ".cmake",
    "COBOL": ".cob .cbl .ccp .cobol .cpy",
    "CoffeeScript": ".coffee ._coffee .cjsx .cson .iced",
    "Common Lisp": ".lisp .asd .lsp .ny .podsl .sexp",
    "Crystal": ".cr",
    "CSS": ".css",
    "Cuda": ".cu .cuh",
    "Cython": ".pyx .pxd .pxi",
    "D": ".di",
    "Dart": ".dart",
    "Elixir": ".ex .exs",
    "Elm": ".elm",
    "Emacs Lisp": ".el .emacs",
    "Erlang": ".erl .escript .hrl .xrl .yrl",
    "F#": ".fs .fsi .fsx",
    "Fortran": ".f90 .f .f03 .f08 .f77 .f95 .for .fpp",
    "GLSL": ".glsl .fp .frag .frg .fsh .fshader .geo .geom .glslv .gshader .shader .vert "
    ".vrx .vsh .vshader",
    "Go": ".go",
    "GraphQL": ".graphql",
    "Groovy": ".groovy .grt .gtpl .gvy",
    "Handlebars": ".handlebars .hbs",
    "Haskell": ".hs .hsc",
    "HCL": ".hcl .tf",
    "HTML": ".html .htm .xht .xhtml",
    "Java": ".java",
    "JavaScript": ".js ._js .bones .es6 .jake .jsb .jscad .jsfl .jsm .jss .njs .pac .sjs .ssjs "
    ".xsjs .xsjslib",
    "JSON": ".json .geojson .lock .topojson",
    "Julia": ".jl",
    "Jupyter Notebook": ".ipynb",
    "Kotlin": ".kt .ktm .kts",
    "Less": ".less",
    "Lua": ".lua .nse .pd_lua .rbxs .wlua",
    "Makefile": ".mak .mk .mkfile",
    "Markdown": ".md .markdown .mkd .mkdn .mkdown .ron",
    "Matlab": ".matlab",
    "Nix": ".nix",
    "OCaml": ".ml .eliom .eliomi .ml4 .mli .mll .mly",
    "Pascal": ".pas .dfm .dpr .lpr",
    "Perl": ".pl .al .perl .ph .plx .pm .psgi .t",
    "PHP": ".php .aw .ctp .php3 .php4 .php5 .phps .phpt",
    "PowerShell": ".ps1 .psd1 .psm1",
    "Protocol Buffer": ".proto",
    "Python": ".py .bzl .gyp .lmi .pyde .pyp .pyt .pyw .tac .wsgi .xpy",
    "QML": ".qml .qbs",
    "R": ".r .rd .rsx",
    "Racket": ".rkt .rktd .rktl .scrbl",
    "reStructuredText": ".rst .rest",
    "Ruby": ".rb .builder .gemspec .god .irbrc .jbuilder .mspec .podspec .rabl .rake "
    ".rbuild .rbw .rbx .ru .ruby .thor .watchr",
    "Rust": ".rs",
    "Sass": ".sass",
    "Scala": ".scala .sbt",
    "Scheme": ".scm .sld .sps .ss",
    "SCSS": ".scss",
    "Shell": ".sh .bash .bats .command .ksh .tmux .tool .zsh",
    "Solidity": ".sol",
    "Stylus": ".styl",
    "Swift": ".swift",
    "SystemVerilog": ".sv .svh .vh",
    "Tcl": ".tcl .adp .tm",
    "TeX": ".tex .aux .bbx .bib .cbx .dtx .ins .lbx .ltx .mkii .mkiv .mkvi .sty .toc",
    "TOML": ".toml",
    "Twig": ".twig",
    "TypeScript": ".ts .tsx",
    "Vala": ".vala .vapi",
    "Verilog": ".veo",
    "VHDL": ".vhdl .vhd .vhf .vhi .vho .vhs .vht .vhw",
    "Vue": ".vue",
    "WebAssembly": ".wat",
    "YAML": ".yml .reek .rviz .syntax .yaml",
    "Zig": ".zig",
}
LANGUAGE_EXTENSIONS = build_extensions(
    {language: extensions.split() for language, extensions in _LANGUAGES.items()}
)
