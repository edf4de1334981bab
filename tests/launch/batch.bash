# Requests for the tests of weft batch, the same each time.

words=(She He It the a was had been very much of to in and family marriage sister happy pleasure indeed not be seen every one)
make_requests() { # how many, seed
    local i j length prompt
    RANDOM=$2
    for ((i = 0; i < $1; i++)); do
        prompt= length=$((RANDOM % 4 == 0 ? RANDOM % 150 + 1 : RANDOM % 12 + 1))
        for ((j = 0; j < length; j++)); do prompt+=" ${words[RANDOM % ${#words[@]}]}"; done
        local line="{\"id\":\"r$i\",\"prompt\":\"${prompt:1}\",\"max_tokens\":$((RANDOM % 90 + 1))"
        case $((i % 8)) in
        1) line+=",\"temperature\":0.9" ;;
        3) line="{\"id\":$i,\"tokens\":[$((RANDOM % 2000 + 2)),$((RANDOM % 2000 + 2)),77],\"max_tokens\":$((RANDOM % 60 + 1))" ;;
        4) line+=",\"temperature\":1.2,\"top_k\":40,\"top_p\":0.9,\"seed\":$i" ;;
        5) line+=",\"temperature\":0.7,\"min_p\":0.05,\"n\":3" ;;
        2) line+=",\"repetition_penalty\":1.3,\"presence_penalty\":0.5,\"frequency_penalty\":0.25,\"logprobs\":2" ;;
        6) line+=",\"stop\":[\"the\",\".\"]" ;;
        0) line+=",\"logit_bias\":{\"283\":-20,\"13\":2.5},\"min_tokens\":1,\"stop_token_ids\":[268]" ;;
        7) line+=",\"ignore_eos\":true" ;;
        esac
        if [ $((i % 16)) -eq 9 ]; then
            echo "{\"custom_id\":\"c$i\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":{\"model\":\"m\",\"prompt\":\"${prompt:1}\",\"max_tokens\":20}}"
        elif [ $((i % 16)) -eq 14 ]; then
            echo "{\"id\":\"bad $i\",\"prompt\":\"x\",\"temprature\":1}"
        else
            echo "$line}"
        fi
    done
}
