# Made by lq-run --generate bash; do not edit.
_lq_run() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
  local words command=${COMP_WORDS[1]}
  case "$command" in
    *)
      case "$prev" in
        -f|--file) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        -s|--system) COMPREPLY=(); return ;;
        -n|--max-tokens) COMPREPLY=(); return ;;
        -c|--ctx) COMPREPLY=(); return ;;
        --stop) COMPREPLY=(); return ;;
        --chat-template) COMPREPLY=(); return ;;
        --chat-template-file) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        --template-arg) COMPREPLY=(); return ;;
        --repeat-last-n) COMPREPLY=(); return ;;
        --repeat-penalty) COMPREPLY=(); return ;;
        --top-k) COMPREPLY=(); return ;;
        --top-p) COMPREPLY=(); return ;;
        --min-p) COMPREPLY=(); return ;;
        --temp) COMPREPLY=(); return ;;
        --seed) COMPREPLY=(); return ;;
        --device) COMPREPLY=($(compgen -W 'cpu cuda' -- "$cur")); return ;;
        --kv-type) COMPREPLY=($(compgen -W 'f16 f32 q8_0' -- "$cur")); return ;;
        --tokenize) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        --logits) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        -t|--threads) COMPREPLY=(); return ;;
        --color) COMPREPLY=($(compgen -W 'auto always never' -- "$cur")); return ;;
      esac
      words='--file --system --max-tokens --ctx --stop --raw --chat-template --chat-template-file --template-arg --show-prompt --repeat-last-n --repeat-penalty --top-k --top-p --min-p --temp --seed --device --kv-type --exact --no-repack --stats --fail-on-truncate --tokenize --add-special --no-parse-special --logits --threads --json --color --quiet --help --version' ;;
  esac
  if [[ $cur == -* ]]; then
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
  else
    COMPREPLY=($(compgen -f -- "$cur"))
  fi
}
complete -o filenames -F _lq_run lq-run
